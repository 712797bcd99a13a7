"""Desk: one program with calls of every shape, run in this process and over each driver that is installed.

    python examples/everywhere.py

Each way of calling, with each codec, has to give what the first one gave; the last column is the time of all calls.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xooai import ComboDoc, Executor, Image, NotFound, PluginError, Text, XooaiError, plugins, post, stream

URLS = ("http://127.0.0.1:0", "grpc://127.0.0.1:0", "quic://127.0.0.1:0")
CODECS = ("json", "msgpack")
LINES = ("a bee", "an elephant", "a cat")
PICTURE = Path(__file__).parent / "data" / "receipt.jpg"


class Measured(ComboDoc):
    text: Text
    letters: int
    words: dict[str, int]


class Desk(Executor):
    @post
    def measure(self, doc: Text, at_least: int = 1) -> Measured:
        """Count the letters of a text, and those of its words that come often enough."""
        words = Counter(doc.read().split())
        often = {word: count for word, count in words.items() if count >= at_least}
        return Measured(text=doc, letters=len(doc.read()), words=often)

    @post
    async def copy(self, doc: Image) -> Image:
        """Give a picture back."""
        return Image(value=await doc.aread())

    @stream
    def words(self, doc: Text) -> Iterator[Text]:
        """Give the words of a text; at `stop` there is an error."""
        for word in doc.read().split():
            if word == "stop":
                raise NotFound("nothing follows 'stop'")
            yield Text(value=word)

    @stream
    async def longest(self, docs: AsyncIterator[Text]) -> Text:
        """Return the longest of many texts."""
        return max([doc async for doc in docs], key=lambda doc: len(doc.read()))

    @stream
    async def chat(self, docs: AsyncIterator[Text]) -> AsyncIterator[Text]:
        """Answer each text when it comes."""
        async for doc in docs:
            yield Text(value=f"{doc.read()}? {len(doc.read())} letters")


def answers(desk: Desk, codec: str) -> list[Any]:
    """What a caller gets for a call of each shape, and for what goes wrong."""
    note = Text(value="to be or not to be")
    found: list[Any] = [
        desk.post(on="measure", doc=note, at_least=2, codec=codec),
        desk.post(on="copy", doc=Image(ref=str(PICTURE)), codec=codec).read() == PICTURE.read_bytes(),
        list(desk.stream(on="words", doc=note, codec=codec)),
        desk.stream(on="longest", docs=[Text(value=line) for line in LINES], codec=codec),
        asyncio.run(conversation(desk, codec)),
    ]
    for word in desk.stream(on="words", doc=Text(value="one two"), codec=codec):
        found.append(word)  # the handler goes no further than its caller
        break
    found.append(error_of(partial(desk.post, on="measure", doc=note, at_least="many", codec=codec)))
    found.append(error_of(partial(list, desk.stream(on="words", doc=Text(value="go stop"), codec=codec))))
    return found


async def conversation(desk: Desk, codec: str) -> list[Any]:
    """Send a text, wait for its answer, and so on."""
    heard = []
    async with desk.open(on="chat", codec=codec) as s:
        for line in LINES:
            await s.send(Text(value=line))
            heard.append(await s.receive())
        await s.end()
        heard.append(await s.receive())
    return heard


def error_of(failing: Callable[[], object]) -> tuple[str, str] | None:
    """The class and the text of the error that a call ends with."""
    try:
        failing()
    except XooaiError as error:
        return type(error).__name__, error.message
    return None


def served(desk: Desk, url: str, folder: Path) -> Desk:
    """A client of the program, which is served at `url`. QUIC has to have a certificate: one that is made for a try."""
    if not url.startswith("quic:"):
        return Desk.at(desk.start(url)[0])
    plugins.driver("quic")  # raises PluginError where it is not installed
    made = import_module("xooai_quic.certificate").for_development()
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.chain)
    key.write_bytes(made.key)
    return Desk.at(desk.start(url, certificate=str(certificate), key=str(key))[0], trust=str(certificate))


def main() -> int:
    """Run the program everywhere; the exit code tells whether all answers were equal."""
    first: list[Any] = []
    differing = 0
    with Desk() as desk, TemporaryDirectory() as folder:
        for url in ("", *URLS):
            try:
                there = served(desk, url, Path(folder)) if url else desk
            except PluginError as error:
                print(f"{url.partition(':')[0]:12}{error}")
                continue
            for codec in CODECS:
                began = time.perf_counter()
                found = answers(there, codec)
                took = time.perf_counter() - began
                first = first or found
                differing += found != first
                print(
                    f"{url or 'in process':22}{codec:10}{'equal' if found == first else 'DIFFERS':10}{took * 1000:6.1f} ms"
                )
            if there is not desk:
                there.close()
                desk.stop()
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
