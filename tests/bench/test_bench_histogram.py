"""Times in buckets say what a sorted list of them would, within four parts of a thousand."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xooai.bench.histogram import Histogram, shares

TIMES = st.lists(st.floats(1e-7, 3600 * 9), min_size=1, max_size=300)


def of(times: list[float]) -> Histogram:
    made = Histogram()
    for time in times:
        made.add(time)
    return made


@given(TIMES, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_that_of_the_sorted_times(times: list[float], share: float) -> None:
    at = max(1, round(share * len(times)))

    assert of(times).at(share) == pytest.approx(sorted(times)[at - 1], rel=0.004, abs=2e-9)


@given(TIMES, TIMES)
def test_two_taken_together_are_one(some: list[float], others: list[float]) -> None:
    both = of(some)
    both.take(of(others))

    assert list(both.buckets()) == list(of(some + others).buckets())
    assert (both.low, both.high, both.count) == (min(some + others), max(some + others), len(some + others))


@given(TIMES)
def test_every_time_is_in_one_bucket_that_ends_above_it(times: list[float]) -> None:
    buckets = list(of(times).buckets())

    assert sum(count for _, count in buckets) == len(times)
    assert all(any(time < end <= time * 1.008 + 2e-9 for end, _ in buckets) for time in times)


def test_what_is_no_time_counts_as_the_nearest() -> None:
    found = of([-1.0, 1e9])

    assert (found.count, found.high) == (2, 1e9)
    assert found.low < 0
    assert found.at(0.01) == pytest.approx(0, abs=1e-9)
    assert [count for _, count in found.buckets()] == [1, 1]


def test_parts_of_a_range_share_all_times() -> None:
    times = [n / 1000 for n in range(1, 101)]

    found = shares(list(of(times).buckets()), [0.01, 0.05, 0.1])

    assert found == [10, 40, 50]
    assert ceil(of(times).mean * 1000) == 51
