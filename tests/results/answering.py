"""What the tests of kept replies share: an executor that counts its runs, and callers with an identity of their own."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, NamedTuple

from xooai import ComboDoc, Executor, File, Image, NotFound, Text, current, post
from xooai.call import Call, Service
from xooai.codec import CODECS
from xooai.driver import Head, Outcome
from xooai.errors import error_from
from xooai.server import Site

__all__ = ["Answer", "Answering", "Page", "ask", "noting", "site_of"]


class Page(ComboDoc):
    """Documents inside a document."""

    scan: Image | None = None
    texts: list[Text] = []


class Answering(Executor):
    """Endpoints that keep their replies, and count how often they run."""

    def __init__(self, folder: Path | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.runs: list[Any] = []
        self.folder = folder
        self.started, self.gate = threading.Semaphore(0), threading.Event()
        self.three = threading.Barrier(3)
        self.fails = False

    @post(cache="10m")
    def loud(self, doc: Text, mark: str = "!") -> Text:
        self.runs.append(doc.value)
        return Text(value=f"{str(doc.value).upper()}{mark}")

    @post(cache=600)
    async def page(self, page: Page) -> Page:
        self.runs.append(page)
        return page

    @post(cache=600)
    async def whole(self, doc: File) -> File:
        self.runs.append(await doc.aread())
        return doc

    @post(cache=600)
    def size(self, doc: File) -> int:
        self.runs.append(doc.read())
        return len(doc.read())

    @post(cache=600)
    def mutable(self, names: list[str]) -> dict[str, list[str]]:
        self.runs.append(names)
        self.last = {"names": names}
        return self.last

    @post(cache=600)
    def file(self, name: str) -> File:
        self.runs.append(name)
        assert self.folder is not None
        return File(ref=str(self.folder / name))

    @post(cache=600)
    async def noted(self, x: int) -> int:
        self.runs.append(x)
        current().reply_metadata["x-model"] = f"v{len(self.runs)}"
        return x

    @post(cache=600)
    def failing(self, x: int) -> int:
        self.runs.append(x)
        if self.fails:
            raise NotFound("not yet")
        return x

    @post(cache=600)
    def slow(self, x: int) -> int:
        """Waits for the gate, in a thread."""
        self.runs.append(x)
        self.started.release()
        assert self.gate.wait(20)
        if self.fails:
            raise NotFound("not yet")
        return x

    @post(cache=600)
    def meeting(self, x: int) -> int:
        """Fails at first, once the gate is open; then three runs wait for each other."""
        self.runs.append(x)
        if len(self.runs) == 1:
            self.started.release()
            assert self.gate.wait(20)
            raise NotFound("not yet")
        self.three.wait(10)
        return x

    @post(cache=600)
    async def held(self, x: int) -> int:
        """Waits for the gate, on the loop."""
        self.runs.append(x)
        self.started.release()
        await asyncio.to_thread(self.gate.wait, 20)
        return x

    @post(cache=600)
    async def itself(self, x: int) -> int:
        """Calls itself, once."""
        self.runs.append(x)
        if len(self.runs) == 1:
            return int(await self.apost(on="itself", x=x)) + 1
        return x

    @post(cache=0.2)
    def shortly(self, x: int) -> int:
        self.runs.append(x)
        return x

    @post(cache=600)
    def bulk(self, x: int, size: int) -> bytes:
        self.runs.append(x)
        return bytes(size)


def noting(found: list[dict[str, str]]) -> Any:
    """A layer that notes the metadata of replies."""

    def layer(service: Service) -> Service:
        async def note(call: Call) -> None:
            await service(call)
            found.append(dict(call.reply_metadata))

        return note

    return layer


class Answer(NamedTuple):
    """A reply as its caller gets it."""

    frame: bytes
    outcome: Outcome

    @property
    def is_kept(self) -> bool:
        return "xooai-cached" in self.outcome.metadata


class _Peer:
    """One call of a caller elsewhere, as a driver hands it to a site."""

    def __init__(self, head: Head, request: bytes) -> None:
        self.head = head
        self._request: bytes | None = request
        self.outcome: Outcome | None = None
        self.reply = b""

    async def receive(self) -> bytes | None:
        request, self._request = self._request, None
        return request

    async def send(self, frame: bytes) -> None:
        raise AssertionError("a unary call has one reply")

    async def end(self, frame: bytes | None = None, outcome: Outcome | None = None) -> None:
        self.reply, self.outcome = frame or b"", outcome or Outcome()

    def abort(self) -> None:
        raise AssertionError("nobody left")


def site_of(executor: Executor) -> Site:
    """The executor as a server has it, without a listener."""
    site = Site((executor._xooai_local(),))
    site.contents.loop = asyncio.get_running_loop()
    site.open()
    return site


async def ask(
    site: Site, on: str, arguments: bytes, *, codec: str = "json", identity: str = "", accept: str = ""
) -> Answer:
    """Call an endpoint as a peer who has shown a certificate. Raises the error that the call ended with."""
    name = site.names()[0]
    peer = _Peer(Head(f"/{name}/{on}", CODECS[codec].media_type, accept=accept, identity=identity), arguments)
    await site.accept(peer)
    outcome = peer.outcome
    assert outcome is not None
    if outcome.code:
        raise error_from(outcome.code, outcome.message, outcome.details, outcome.id)
    return Answer(peer.reply, outcome)
