"""A process that starts and ends servers without end, as a notebook does: what it tells of stays small, and is still right."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from scraping import report, sample, text
from xooai import Executor, InvalidArgument, post
from xooai.tally import KNOWN, LAST

pytest.importorskip("uvicorn", reason="it comes with: pip install -e '.[http]'")
pytest.importorskip("prometheus_client", reason="it comes with: pip install -e '.[http]'")


class Brief(Executor):
    @post
    async def ping(self, number: int) -> int:
        if number < 0:
            raise InvalidArgument("too small")
        return number

    @post(batch_size=2, batch_wait=0.0)
    async def many(self, number: list[int]) -> list[int]:
        return number

    @post(cache="1m")
    async def kept(self, number: int) -> int:
        return number


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that stays, while more executors than are counted apart come and go."""
    with Brief(name="staying") as staying:
        url: str = staying.start("http://127.0.0.1:0")[0]
        staying.post(on="ping", number=1)
        for number in range(KNOWN + 50):
            with Brief(name=f"brief_{number}") as brief:
                brief.post(on="ping", number=number)
                if number % 10 == 0:
                    brief.post(on="many", number=number)
                    brief.post(on="kept", number=number)
        gc.collect()  # batches hold one another
        text(url)  # which is written in a thread that stays
        yield url


def test_of_executors_that_are_gone_only_the_last_are_told(url: str) -> None:
    told = report(url)

    for part in ("calls", "batches", "counts"):
        gone = {one["executor"] for one in told[part] if one["executor"].startswith("brief_")}
        assert len(gone) <= LAST, part
    assert f"brief_{KNOWN + 49}" in {one["executor"] for one in told["calls"]}
    assert len(text(url)) < 1_000_000


def test_what_stays_keeps_its_sums(url: str) -> None:
    before = sample(url, "xooai_calls_total", executor="staying", endpoint="ping", code="OK")
    with Executor(f"{url}/staying") as caller:
        caller.post(on="ping", number=1)

    assert before >= 1
    assert sample(url, "xooai_calls_total", executor="staying", endpoint="ping", code="OK") == before + 1


def test_whoever_comes_late_is_still_counted_by_name(url: str) -> None:
    with Brief(name="late") as late:
        late.post(on="ping", number=1)

        assert sample(url, "xooai_calls_total", executor="late", endpoint="ping") == 1
        assert sample(url, "xooai_calls_total", executor="-", driver="local") == 0


def test_a_server_that_comes_back_at_once_goes_on_counting(url: str) -> None:
    for _ in range(3):
        with Brief(name="again") as again, Executor(f"{again.start('http://127.0.0.1:0')[0]}/again") as caller:
            caller.post(on="ping", number=1)

    assert sample(url, "xooai_calls_total", executor="again", endpoint="ping", driver="http") == 3
