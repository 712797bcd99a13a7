"""How long does a large file take into a bucket of S3 and out of it, against obstore alone and s3fs alone?"""

import asyncio
import contextlib
import hashlib
import importlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

import report
import seaweed
from options import Options
from processes import MIB, cores, end_when_terminated, free_port

SERVER = Path(__file__).parent / "servers" / "xooai_stored.py"
STEP = 1024 * 1024
START_LIMIT = 60.0  # seconds
SETTLED = 2.1  # seconds that a file was not written to: what was written just now may change again unseen

Prepare = Callable[[Path], Awaitable[Any]]
Put = Callable[[Any], Awaitable[str]]
Get = Callable[[str], Awaitable[int]]


async def _itself(path: Path) -> Path:
    return path


@dataclass
class Way:
    """Puts a file, and tells by which name; reads what has that name, and tells how many bytes those were. What is made `ready`
    of a file before is not measured.
    """

    key: str
    name: str
    put: Put
    get: Get | None
    ready: Prepare = _itself
    puts: list[float] = field(default_factory=list)
    gets: list[float] = field(default_factory=list)
    both: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    async def turn(self, path: Path, size: int) -> None:
        thing, began = await self.ready(path), time.process_time()
        first = time.perf_counter()
        name = await self.put(thing)
        then = time.perf_counter()
        if self.get is not None:
            found = await self.get(name)
            if found != size:
                raise SystemExit(f"{self.name} gave {found:,} of {size:,} bytes")
            self.puts.append(then - first)
            self.gets.append(time.perf_counter() - then)
        self.both.append(time.perf_counter() - first)
        self.cpu.append(time.process_time() - began)


def obstore() -> Way:
    """As its manual has it: a path to put, a stream to get."""
    engine: Any = importlib.import_module("obstore")
    store = importlib.import_module("obstore.store").S3Store(seaweed.BUCKET)

    async def put(path: Path) -> str:
        await engine.put_async(store, path.name, path)
        return path.name

    async def get(name: str) -> int:
        found = await engine.get_async(store, name)
        return sum([len(chunk) async for chunk in found.stream()])

    return Way("obstore", "limit: obstore alone", put, get)


def by_hand(folder: Path) -> Way:
    """What a call does, without one: a name by the content's hash, a file that is hashed while it comes, and read."""
    engine: Any = importlib.import_module("obstore")
    store = importlib.import_module("obstore.store").S3Store(seaweed.BUCKET)

    def signed(path: Path) -> str:
        with path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    async def put(path: Path) -> str:
        name = await asyncio.to_thread(signed, path)
        await engine.put_async(store, name, path)
        return name

    async def get(name: str) -> int:
        hasher, path = hashlib.sha256(), folder / "got.bin"
        with path.open("wb") as file:

            def take(chunk: Any) -> None:
                hasher.update(chunk)
                file.write(chunk)

            async for chunk in (await engine.get_async(store, name)).stream():
                await asyncio.to_thread(take, chunk)
        if hasher.hexdigest() != name:
            raise SystemExit("another content came")
        return len(await asyncio.to_thread(path.read_bytes))

    return Way("hand", "obstore alone, named and verified by a hash", put, get)


def s3fs(stack: AsyncExitStack, folder: Path) -> Way:
    """As its manual has it: from a file, and to one."""
    fs = importlib.import_module("s3fs").S3FileSystem(asynchronous=True, client_kwargs={"region_name": "us-east-1"})

    async def put(path: Path) -> str:
        await fs._put_file(str(path), f"{seaweed.BUCKET}/{path.name}")
        return path.name

    async def get(name: str) -> int:
        await fs._get_file(f"{seaweed.BUCKET}/{name}", str(folder / "got.bin"))
        return await asyncio.to_thread(os.path.getsize, folder / "got.bin")

    async def close() -> None:
        await (await fs.set_session()).close()

    stack.push_async_callback(close)
    return Way("s3fs", "s3fs alone", put, get)


def _opened() -> Any:
    return importlib.import_module("servers.xooai_stored").opened(f"s3://{seaweed.BUCKET}")


async def store(stack: AsyncExitStack) -> Way:
    """xooai's store, which hashes what it puts."""
    contents: Any = importlib.import_module("xooai.content")
    opened = await stack.enter_async_context(aclosing(_opened()))

    async def put(content: Any) -> str:
        await opened.put(content)
        return str(content.signature)

    async def get(signature: str) -> int:
        async with aclosing(opened.get(signature)) as chunks:
            return sum([len(chunk) async for chunk in chunks])

    return Way("store", "xooai, its store", put, get, contents.FileContent.of)


@contextlib.asynccontextmanager
async def _called(core: int, folder: Path) -> AsyncIterator[Any]:
    """A client of a server in another process, which has the same store."""
    xooai: Any = importlib.import_module("xooai")
    port = free_port()
    command = [sys.executable, str(SERVER), str(port), f"s3://{seaweed.BUCKET}"]
    child = subprocess.Popen(  # noqa: ASYNC220 - before anything is measured
        command, env={**os.environ, "XOOAI_CACHE": str(folder / "server")}, stdout=subprocess.DEVNULL
    )
    try:
        psutil.Process(child.pid).cpu_affinity([core])
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or child.poll() is not None:
                    raise SystemExit("the server does not start") from None
                await asyncio.sleep(0.1)
        async with aclosing(_opened()) as own:
            yield xooai.Executor(f"http://127.0.0.1:{port}/payload", store=own)
    finally:
        child.kill()
        child.wait()


async def calls(stack: AsyncExitStack, core: int, folder: Path) -> Way:
    """What a user writes: a file in a call, read by the handler. Its signature is made, and its content verified there."""
    xooai: Any = importlib.import_module("xooai")
    there = await stack.enter_async_context(_called(core, folder))

    async def put(path: Path) -> str:
        found = await there.apost("read", doc=xooai.File(ref=str(path)), timeout=600)
        return f"the handler read {found:,} bytes"

    return Way("call", "xooai, a call whose handler reads it", put, None)


async def measure(own: int, folder: Path, given: Any) -> list[Way]:
    path = folder / "content.bin"
    async with AsyncExitStack() as stack:
        ways = [obstore()]
        if "hand" in given.only:
            ways.append(by_hand(folder))
        if "s3fs" in given.only and importlib.util.find_spec("s3fs") is None:
            print("without s3fs, which is not installed", file=sys.stderr)
        elif "s3fs" in given.only:
            ways.append(s3fs(stack, folder))
        if "store" in given.only:
            ways.append(await store(stack))
        if "call" in given.only:
            ways.append(await calls(stack, own, folder))
        with path.open("wb") as file:
            for place in range(0, given.size * MIB, STEP):
                file.write(os.urandom(min(STEP, given.size * MIB - place)))
        for _ in range(given.rounds):
            for way in ways:
                with path.open("r+b") as file:  # new to everybody
                    file.write(os.urandom(16))
                await asyncio.sleep(SETTLED)
                await way.turn(path, given.size * MIB)
                await asyncio.to_thread(seaweed.empty)
    return ways


def main() -> None:
    """Measure and print the table."""
    parser = Options(__doc__, ["obstore", "hand", "s3fs", "store", "call"], seconds=0, rounds=5)
    parser.add_argument("--size", type=int, default=256, metavar="MIB", help="of the file (default: 256)")
    given = parser.parse_args()
    end_when_terminated()
    core, own = cores()
    os.sched_setaffinity(0, {own})
    print(f"{report.machine()}; {given.rounds} rounds; {given.size} MiB\n", flush=True)
    folder = Path(seaweed.folder_in_memory("store-"))
    os.environ["XOOAI_CACHE"] = str(folder / "client")
    try:
        with seaweed.seaweed(core):
            ways = asyncio.run(measure(own, folder, given))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    header = (
        "",
        "put, s",
        "put / limit",
        "get, s",
        "get / limit",
        "put and get, s",
        "both / limit",
        "spread ± %",
        "CPU s",
    )
    rows = [_row(way, ways[0]) for way in ways]
    print(report.table(header, rows, given.markdown))


def _row(way: Way, limit: Way) -> tuple[str, ...]:
    alone = [
        cell
        for times, limits in ((way.puts, limit.puts), (way.gets, limit.gets))
        for cell in ((f"{median(times):.2f}", f"{report.ratio(times, limits):.2f}") if times else ("", ""))
    ]
    both = (f"{median(way.both):.2f}", f"{report.ratio(way.both, limit.both):.2f}", f"{report.spread(way.both):.0f}")
    return (way.name, *alone, *both, f"{median(way.cpu):.2f}")


if __name__ == "__main__":
    main()
