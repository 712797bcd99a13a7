"""Reading what came from a peer: in threads, on loops, in other processes, within the time of a call."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from payload_kit import INLINE, Place, Works, counted_bytes, made, signed, within

from xooai import DeadlineExceeded, FailedPrecondition, File, Image, Internal, PermissionDenied, Text, Unavailable, post
from xooai.contents import cache
from xooai.doc import is_wire
from xooai.mount import application
from xooai.testing.memory_store import MemoryStore

MIB = 1024 * 1024


def test_a_handler_on_the_loop_is_told_to_await(
    everywhere: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, as of every mistake of a handler; what it shows of the ref permits nothing."""
    path = made(tmp_path / "content")
    with pytest.raises(Internal):
        everywhere(Works()).post("reads_on_loop", doc=File(ref=str(path)))
    assert "use: await doc.aread()" in caplog.text
    assert "?g=" not in caplog.text


def test_handlers_read_in_threads_and_on_the_loop(everywhere: Place, codec: str, tmp_path: Path) -> None:
    path = made(tmp_path / "film.mp4", 9 * MIB)
    client = everywhere(Works(), codec=codec)
    data, doc = path.read_bytes(), File(ref=str(path))
    assert client.post("facts", doc=doc).digest == client.post("facts_async", doc=doc).digest == signed(data)
    places = [(0, 10), (8 * MIB, 10), (9 * MIB - 3, 10), (9 * MIB, 1), (5, 0), (MIB - 1, 2)]
    assert client.post("parts", doc=doc, places=places) == [data[start : start + size] for start, size in places]
    assert client.post("in_file", doc=doc) == (signed(data), "0o400")


def test_many_handlers_read_one_content_at_once(everywhere: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content", MIB)
    client = everywhere(Works())
    with counted_bytes() as sent:
        client.facts(doc=File(ref=str(path)))
    threads, found = [], []

    def ask() -> None:
        found.append(client.facts(doc=File(ref=str(path))).digest)

    for _ in range(16):
        threads.append(threading.Thread(target=ask))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert found == [signed(path.read_bytes())] * 16
    assert sum(size for _, size in sent) == MIB


def test_a_client_on_a_running_loop_posts_and_is_told_to_await_what_it_reads(everywhere: Place, tmp_path: Path) -> None:
    """As in a notebook."""
    path = made(tmp_path / "content")
    works = Works()
    works.files["it"] = str(path)
    client = everywhere(works)

    async def cell() -> None:
        assert client.post("facts", doc=File(ref=str(path))).digest == signed(path.read_bytes())
        reply = client.post("give", name="it")
        for read in (reply.read, reply.open, reply.path):
            with pytest.raises(FailedPrecondition, match="aread"):
                read()
        assert await asyncio.to_thread(reply.read) == path.read_bytes()

    within(cell())


def test_a_reply_of_a_blocking_client_is_awaited_on_another_loop(trusted: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    works = Works()
    works.files["it"] = str(path)
    client = trusted(works)
    reply = client.post("give", name="it")

    async def cell() -> bytes:
        try:
            found: bytes = await reply.aread()
            return found
        finally:
            await client._xooai_remote.aclose()

    assert within(cell()) == path.read_bytes()


def test_a_document_of_another_process_keeps_its_mark_and_loses_its_way(place: Place, tmp_path: Path) -> None:
    works = Works()
    works.files["it"] = str(made(tmp_path / "content"))
    client = place(works)
    doc = pickle.loads(pickle.dumps(client.give(name="it")))
    assert is_wire(doc)
    for read in (doc.read, doc.open, doc.path):
        with pytest.raises(PermissionDenied):
            read()
    echoed = client.echo(doc=doc)
    assert echoed.ref == doc.ref, "it is passed on as the text that it is"
    assert signed(echoed.read()) == doc.signature


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda doc: doc.model_copy(),
        lambda doc: doc.model_copy(deep=True),
        lambda doc: type(doc).model_validate(doc),
    ],
)
def test_a_copy_is_read_as_the_document_is(place: Place, tmp_path: Path, copied: Callable[[Any], Any]) -> None:
    works = Works()
    path = made(tmp_path / "content")
    works.files["it"] = str(path)
    doc = copied(place(works).give(name="it"))
    assert is_wire(doc)
    assert doc.read() == path.read_bytes()


def test_reading_keeps_nothing_in_what_is_sent_next(place: Place, tmp_path: Path) -> None:
    works = Works()
    works.files["it"] = str(made(tmp_path / "content"))
    reply = place(works).give(name="it")
    before = reply.model_dump_json()
    assert len(reply.read()) == INLINE + 1
    assert (reply.value, reply.model_dump_json()) == (None, before)


class Stuck(MemoryStore):
    """Gives nothing until it is let go."""

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        self.asked.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.left.set()
            raise
        yield b""

    asked, left = threading.Event(), threading.Event()


@pytest.mark.parametrize("endpoint", ["facts", "facts_async", "in_file"])
def test_the_time_of_a_call_holds_while_its_handler_reads(everywhere: Place, tmp_path: Path, endpoint: str) -> None:
    data = os.urandom(INLINE)
    stuck = Stuck("payload-stuck", "stuck")
    stuck._held[signed(data)] = (data, 0)
    stuck.asked.clear()
    stuck.left.clear()
    client = everywhere(Works(store=stuck))
    began = time.monotonic()
    try:
        with pytest.raises(DeadlineExceeded):
            client.post(endpoint, doc=File(ref=f"store:stuck/{signed(data)}"), timeout=0.5)
        assert time.monotonic() - began < 5
        assert stuck.asked.wait(5)
        assert stuck.left.wait(5), "nobody wants it any more"
        assert client.facts(doc=Text(value="next")).length == 4
    finally:
        stuck.clear()


def test_a_document_is_unavailable_once_its_server_has_ended(place: Place, tmp_path: Path) -> None:
    held: list[File] = []

    class Holds(Works):
        @post
        def hold(self, doc: File) -> None:
            held.append(doc)

    works = Holds()
    client = place(works)
    client.hold(doc=File(ref=str(made(tmp_path / "content"))))
    works.stop()
    with pytest.raises(Unavailable, match="runs no more"):
        held[0].read()


def test_a_child_of_a_fork_sends_and_reads(over_http: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    works = Works()
    works.files["it"] = str(path)
    client = over_http(works)
    reply = client.give(name="it")
    client.facts(doc=File(ref=str(path)))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(15)
            found = client.facts(doc=File(ref=str(path)))
            is_right = found.digest == signed(path.read_bytes()) and reply.read() == path.read_bytes()
            code = 0 if is_right else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reply.read() == path.read_bytes()


def test_a_document_keeps_its_file_as_long_as_it_lives(place: Place, tmp_path: Path) -> None:
    works = Works()
    works.files["it"] = str(made(tmp_path / "a.png"))
    reply = place(works).give_image(name="it")
    path = reply.path()
    assert path == reply.path()
    assert path.suffix == ".png"
    del reply
    assert not path.exists()


def test_an_image_is_decoded_from_where_it_is(everywhere: Place, tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    pil.frombytes("RGB", (400, 300), os.urandom(400 * 300 * 3)).save(tmp_path / "a.png")
    works = Works()
    works.files["it"] = str(tmp_path / "a.png")
    reply: Image = everywhere(works).give_image(name="it")
    assert reply.value is None
    assert reply.pil().size == (400, 300)


def test_a_server_mounted_in_another_application_takes_and_gives_contents(tmp_path: Path) -> None:
    """Its executors are set up by the first request."""
    uvicorn = pytest.importorskip("uvicorn")
    path = made(tmp_path / "content")
    works = Works()
    works.files["it"] = str(path)
    server = uvicorn.Server(uvicorn.Config(application(works), port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with Works.at(f"http://127.0.0.1:{port}") as client:
            assert client.facts(doc=File(ref=str(path))).digest == signed(path.read_bytes())
            assert client.give(name="it").read() == path.read_bytes()
    finally:
        server.should_exit = True
        thread.join(10)


def test_the_cache_of_a_loop_is_one(own_cache: Path) -> None:
    async def same() -> bool:
        return await cache() is await cache()

    assert asyncio.run(same())
    assert not own_cache.exists(), "opening it makes nothing"
