"""Each metric that the documentation tells of moves when what it tells of happens."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from scraping import sample, text
from xooai import Executor, ResourceExhausted, Unavailable, post
from xooai.cache import Cache
from xooai.content import MemoryContent
from xooai.metrics.report import COUNTS
from xooai.testing import MemoryStore

pytest.importorskip("uvicorn", reason="it comes with: pip install -e '.[http]'")
pytest.importorskip("prometheus_client", reason="it comes with: pip install -e '.[http]'")

from prometheus_client.parser import text_string_to_metric_families

PAGE = Path(__file__).parents[2] / "docs/how-to/metrics.md"
DOCUMENTED = re.findall(
    r"`((?:xooai|process)_\w+)`", PAGE.read_text().partition("## What is told")[2].partition("\n\n## ")[0]
)
PATIENCE = 20.0  # seconds
SUPERVISED = {
    "xooai_worker_ready",
    "xooai_worker_restarts_total",
    "xooai_passed_on_total",
}  # where there are workers: tests/workers


class Driven(Executor):
    def __init__(self) -> None:
        super().__init__(name="driven")
        self.leave = threading.Event()
        self.slow = iter([True])

    @post(limit=1, queue=1)
    def narrow(self) -> str:
        assert self.leave.wait(PATIENCE)
        return "done"

    @post(idempotent=True)
    async def hedged(self) -> str:
        if next(self.slow, False):
            await asyncio.sleep(PATIENCE)
        return "done"

    @post(batch_size=2)
    async def batch(self, item: list[int]) -> list[int]:
        return item

    @post(cache="1m")
    def kept(self, number: int) -> int:
        return number


def drive(url: str, folder: Path) -> None:
    """Have all of it happen, but for what lasts."""
    with Driven.at(url, hedge=0.02) as caller:
        caller.post(on="batch", item=[1, 2, 3])
        caller.post(on="kept", number=1)
        caller.post(on="hedged")
        caller.post(on="kept", number=2, metadata={"idempotency-key": "once"})
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with Driven.at(f"http://127.0.0.1:{nobody.getsockname()[1]}", retry=1) as lost, pytest.raises(Unavailable):
            lost.post(on="kept", number=1)
    asyncio.run(look_into_cache(folder))


async def look_into_cache(folder: Path) -> None:
    content = MemoryContent(b"a page")
    async with aclosing(Cache(str(folder))) as cache, aclosing(MemoryStore("metrics")) as store:
        await store.put(content)
        with await cache.get(content.signature, store) as file:
            assert file.read() == b"a page"


def until(url: str, name: str, number: float, **labels: str) -> None:
    ended = threading.Event()
    for _ in range(int(PATIENCE / 0.02)):
        if sample(url, name, **labels) == number:
            return
        ended.wait(0.02)
    raise AssertionError(f"{name} did not become {number}")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """What each sample has come to, all labels together."""

    def call() -> None:
        with Driven.at(url, retry=0) as caller, suppress(ResourceExhausted):
            caller.post(on="narrow")

    with Driven() as driven:
        url = driven.start("http://127.0.0.1:0")[0]
        drive(url, tmp_path_factory.mktemp("cache"))
        callers = [threading.Thread(target=call) for _ in range(3)]
        try:
            for one in callers:
                one.start()
            until(url, "xooai_refusals_total", 1, executor="driven", reason="full")
            until(url, "xooai_queue_waiting", 1, executor="driven", queue="calls")
            told = text(url)
        finally:
            driven.leave.set()
            for one in callers:
                one.join()
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(told):
        for told_of in family.samples:
            if family.name.startswith("process_") or told_of.labels.get("executor") in ("driven", "", None):
                sums[told_of.name] = sums.get(told_of.name, 0.0) + told_of.value
    return sums


def test_all_that_is_counted_is_documented(found: dict[str, float]) -> None:
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}

    # Workers may have been here in tests before.
    assert {name for name in bare if name.startswith("xooai_")} - SUPERVISED == {
        name for name in DOCUMENTED if name.startswith("xooai_")
    } - SUPERVISED
    assert {f"xooai_{name}_total" for name in COUNTS} <= set(DOCUMENTED)


@pytest.mark.parametrize("name", sorted({*DOCUMENTED} - SUPERVISED))
def test_it_moves_when_it_happens(found: dict[str, float], name: str) -> None:
    moved = found.get(name, found.get(f"{name}_count"))

    assert moved
