"""A client that leaves while its document is fetched: its fetch and its handler end, and no file is left."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chaos_calls import keeping_time
from chaos_program import PATIENCE

pytest.importorskip("h11")
pytest.importorskip("idna")

from xooai import Executor, File, contents, post, sync

Run = Callable[[Coroutine[Any, Any, Any]], Any]

CONTENT = bytes(range(256)) * 4096
SIGNATURE = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
HALF = len(CONTENT) // 2
SOON = 0.5  # seconds in which all has to end
NEEDED = {"memory": "pydantic", "http": "uvicorn", "grpc": "grpc", "quic": "aioquic"}


class Halting:
    """A web server that gives a half of a content, and waits until its client closes the connection."""

    def __init__(self) -> None:
        self.asked, self.left = threading.Event(), threading.Event()
        self.port = 0

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode() + CONTENT[:HALF])
        try:
            await writer.drain()
            self.asked.set()
            await reader.read()
        except OSError:
            pass
        self.left.set()
        writer.close()

    async def _serve(self, ready: threading.Event, over: asyncio.Event) -> None:
        async with await asyncio.start_server(self._talk, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await over.wait()

    def run(self) -> Iterator[Halting]:
        ready, over = threading.Event(), asyncio.Event()
        loops: list[asyncio.AbstractEventLoop] = []

        def serve() -> None:
            with asyncio.Runner() as runner:
                loops.append(runner.get_loop())
                runner.run(self._serve(ready, over))

        thread = threading.Thread(target=serve)
        thread.start()
        assert ready.wait(PATIENCE)
        yield self
        loops[0].call_soon_threadsafe(over.set)
        thread.join()


@pytest.fixture
def halting() -> Iterator[Halting]:
    yield from Halting().run()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, halting: Halting, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Caches that no other test has used, and leave to fetch from that server alone."""
    policy = {"hosts": ["127.0.0.1"], "networks": ["127.0.0.0/8"], "ports": [halting.port]}
    monkeypatch.setenv("XOOAI_FETCH", json.dumps(policy))
    monkeypatch.setenv("XOOAI_CACHE", str(tmp_path / "cache"))
    sync.run(contents._caches().aclose())
    yield tmp_path / "cache"
    sync.run(contents._caches().aclose())


class Fetching(Executor):
    """Each handler reads its document in another way; `ended` tells by what they did."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[str] = []

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise

    @post
    async def aread(self, doc: File) -> int:
        with self._noted():
            return len(await doc.aread())

    @post
    def read(self, doc: File) -> int:
        with self._noted():
            return len(doc.read())

    @post
    def opened(self, doc: File) -> int:
        with self._noted(), doc.open() as file:
            return len(file.read())

    @post
    def its_path(self, doc: File) -> int:
        with self._noted():
            return doc.path().stat().st_size


@pytest.fixture(params=NEEDED)
def scheme(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(NEEDED[request.param])
    return str(request.param)


@pytest.mark.parametrize("signature", [SIGNATURE, None], ids=["signed", "unsigned"])
@pytest.mark.parametrize("on", ["aread", "read", "opened", "its_path"])
def test_a_client_that_leaves_ends_the_fetch(
    run: Run,
    halting: Halting,
    own_cache: Path,
    scheme: str,
    on: str,
    signature: str | None,
    request: pytest.FixtureRequest,
) -> None:
    """On the loop, where it is cancelled, and in a thread, which is told that its call is over; in a cache or around it."""
    files: dict[str, str] = request.getfixturevalue("pem") if scheme == "quic" else {}
    secured: dict[str, Any] = {name: files[name] for name in ("certificate", "key")} if files else {}
    url = "memory://fetching" if scheme == "memory" else f"{scheme}://127.0.0.1:0"

    async def scene() -> None:
        with Fetching() as served:
            bound = served.start(url, **secured)[0]
            async with Fetching.at(bound, trust=files.get("certificate")) as client:
                doc = File(ref=f"http://127.0.0.1:{halting.port}/a.bin", signature=signature)
                call = asyncio.create_task(client.apost(on=on, doc=doc))
                assert await asyncio.to_thread(halting.asked.wait, PATIENCE)
                async with keeping_time() as clock:
                    began = clock.now()
                    call.cancel()
                    await asyncio.wait([call])
                    assert call.cancelled()
                    while not (served.ended and halting.left.is_set()):
                        assert clock.now() - began < SOON
                        await asyncio.sleep(0.005)
            assert served.ended == ["CancelledError" if on == "aread" else "Unavailable"]

    run(scene())
    assert [str(path) for path in own_cache.rglob("*") if path.is_file() and path.stat().st_size >= HALF] == []
