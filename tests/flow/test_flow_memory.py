"""Large files through Flows: who only passes one on holds nothing of it, and reads nothing of it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from xooai import Executor, File, Flow, post
from xooai.testing import MemoryStore

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to see what a process holds")

MIB = 1024 * 1024
HERE = Path(__file__).parent


def sparse(path: Path, size: int) -> Path:
    """A file that is its own by where it is: what another test has read is in the cache."""
    with path.open("wb") as file:
        file.truncate(size)
        file.write(str(path).encode()[-size:])
    return path


LOCAL = """
import sys
sys.path.insert(0, {here!r})
from memory_node import most_held
from xooai import Flow, Video

def size(doc: Video) -> int:
    whole = 0
    with doc.open() as file:
        while part := file.read(1 << 20):
            whole += len(part)
    return whole

def same(doc: Video) -> Video:
    return doc

with Flow().add(use=same, id="a").add(use=same, id="b", needs="a").add(use=size, id="c", needs="b") as f:
    f.post(doc=Video(ref={small!r}))
    before = most_held()
    print(f.post(doc=Video(ref={large!r})), most_held() - before)
"""


def test_a_video_of_a_gigabyte_goes_through_three_nodes_of_this_process(tmp_path: Path) -> None:
    small, large = sparse(tmp_path / "small.mp4", MIB), sparse(tmp_path / "large.mp4", 1000 * MIB)
    code = LOCAL.format(here=str(HERE), small=str(small), large=str(large))
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    size, grown = map(int, ended.stdout.split())

    assert size == 1000 * MIB
    assert grown < 32 * MIB


class Counting(MemoryStore):
    """Counts how often something is read of it."""

    def __init__(self, place: str) -> None:
        super().__init__(place, "share")
        self.reads = 0

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        self.reads += 1
        async for chunk in super().get(signature, start, end):
            yield chunk


class Passes(Executor):
    @post
    def go_on(self, doc: File) -> File:
        return doc

    @post
    async def listed(self, docs: list[File]) -> list[File]:
        return docs

    @post
    def size(self, docs: list[File]) -> int:
        return sum(len(doc.read()) for doc in docs)


@pytest.mark.parametrize("is_served", [False, True])
def test_nothing_is_read_of_a_file_in_a_store_that_is_passed_on(
    tmp_path: Path, is_served: bool, serve: Callable[[Any], str]
) -> None:
    large = sparse(tmp_path / "large.bin", 2 * MIB)
    stores = [Counting(f"flow-memory-{is_served}") for _ in range(3)]
    there, last = serve(Passes(name="there", store=stores[0])), serve(Passes(name="last", store=stores[1]))
    f = Flow(name="f", store=stores[2])
    f.add(use=f"{there}/go_on", id="a").add(use=f"{there}/go_on", id="b")
    f.add(use=f"{last}/go_on", id="c", needs="a").add(use=f"{last}/listed", id="d", needs=("b", "c"))
    with ExitStack() as stack:
        call: Callable[..., Any] = f.post
        if is_served:
            call = stack.enter_context(Executor(serve(f), store=stores[2])).post
        else:
            stack.enter_context(f)
        found = call(doc=File(ref=str(large)))
        assert [doc.size for doc in found] == [2 * MIB, 2 * MIB]
        assert [store.reads for store in stores] == [0, 0, 0]
        with Executor(last) as reader:
            assert reader.post("size", docs=found) == 4 * MIB
        assert [store.reads > 0 for store in stores] == [False, True, False]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[str]]:
    """The URLs of five servers, each a process of its own, with one store."""
    pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    store = f"share={(tmp_path / 'store').as_uri()}"
    with ExitStack() as stack:
        started = []
        for number in range(5):
            command = [sys.executable, str(HERE / "memory_node.py"), f"n{number}", store]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            started.append(process)
        yield [
            f"{process.stdout.readline().strip()}/n{number}" for number, process in enumerate(started) if process.stdout
        ]


@pytest.mark.slow
def test_a_file_by_ref_through_five_servers_is_held_by_none_but_who_reads_it(nodes: list[str], tmp_path: Path) -> None:
    small, large = sparse(tmp_path / "small.bin", MIB), sparse(tmp_path / "large.bin", 256 * MIB)
    f = Flow(store=f"share={(tmp_path / 'store').as_uri()}")
    for number, url in enumerate(nodes[:4]):
        f.add(use=f"{url}/go_on", id=str(number), needs=() if not number else str(number - 1))
    with f.add(use=f"{nodes[4]}/read", id="read", needs="3"), ExitStack() as stack:
        clients = [stack.enter_context(Executor(url)) for url in nodes]
        f.post(doc=File(ref=str(small)))
        before = [client.post("held") for client in clients]
        found = f.post(doc=File(ref=str(large)))
        grown = [client.post("held") - held for client, held in zip(clients, before, strict=True)]

    with large.open("rb") as file:
        assert found == hashlib.file_digest(file, "sha256").hexdigest()
    assert max(grown[:4]) < 8 * MIB, grown
