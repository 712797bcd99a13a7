"""Counting by hand: what is noted on the way of a call, and what that comes to when somebody asks."""

from __future__ import annotations

from math import nextafter
from threading import Barrier, Thread

from xooai.tally import BOUNDS, Calls

TIMES = (0.0, *(near for bound in BOUNDS for near in (nextafter(bound, 0), bound, nextafter(bound, 99))), 3600.0)
THREADS, EACH = 4, 20_000


def test_a_call_that_ends_well_is_in_the_same_bucket_however_it_is_counted() -> None:
    noted, told = Calls("a", "b", ""), Calls("a", "b", "")
    for seconds in reversed(TIMES):
        noted.well.append(seconds)
        told.ended(0, seconds, 0, 0)
    noted.add_up()
    assert noted.buckets == told.buckets
    assert noted.codes == told.codes == [len(TIMES), *[0] * 16]
    assert abs(noted.seconds - told.seconds) < 1e-6


def test_calls_are_counted_once_while_others_end_and_several_ask() -> None:
    calls, start = Calls("a", "b", ""), Barrier(THREADS)

    def work() -> None:
        start.wait()
        for number in range(EACH):
            calls.well.append(0.0002)
            if number % 100 == 0:
                calls.add_up()

    threads = [Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls.add_up()
    calls.add_up()
    assert calls.codes[0] == sum(calls.buckets) == calls.buckets[1] == THREADS * EACH
    assert calls.well == []
