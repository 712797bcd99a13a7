"""The echo in xooai: an `async def` and a `def` endpoint of one ComboDoc, and endpoints of one Text and one Image.

python xooai_echo.py [LIBRARY CERTIFICATE KEY] PORT: over HTTP, or by that library over QUIC
python xooai_echo.py uncounted PORT: over HTTP, by a server that counts no calls, which no option of xooai does
"""

import inspect
import os
import sys

from xooai import ComboDoc, Executor, Image, Text, post, server

COUNTING = (
    "call.tally = tally = lane.tally",
    "began = perf_counter()",
    "tally.begun += 1",
    "timing = _timing(call, began) if began >= tally.due or head.is_timed else None",
    "if timing is not None:\n                tally.timed(timing)",
    "tally.well.append(perf_counter() - began)",
    "tally.taken += call.taken",
    "tally.given += len(reply)",
    "tally.ended(outcome.code, perf_counter() - began, call.taken, call.given)",
)
"""What of a server's function that answers calls counts and times them."""


class Document(ComboDoc):
    """Three plain fields."""

    text: str
    count: int
    score: float


class Echo(Executor):
    """Answers the document that came."""

    @post
    async def combo(self, doc: Document) -> Document:
        """Echo on the loop."""
        return doc

    @post
    def combo_in_thread(self, doc: Document) -> Document:
        """Echo in a worker thread."""
        return doc

    @post
    async def join(self, left: Document, right: Document) -> Document:
        """Make one of two."""
        return Document(text=left.text, count=left.count + right.count, score=right.score)

    @post
    def join_in_thread(self, left: Document, right: Document) -> Document:
        """Make one of two in a worker thread."""
        return Document(text=left.text, count=left.count + right.count, score=right.score)

    @post
    async def text(self, doc: Text) -> Text:
        """Echo a text."""
        return doc

    @post
    async def picture(self, doc: Image) -> Image:
        """Echo a picture."""
        return doc


def count_nothing() -> None:
    """Answer calls by the server's own function without those lines. Raises ValueError where it has others by now."""
    source = inspect.getsource(server.Site._answer)
    for counting in COUNTING:
        if source.count(counting) != 1:
            raise ValueError(f"this does not count calls any more, or is not alone in it: {counting!r}")
        source = source.replace(counting, "pass")
    names = {**vars(server), "began": 0.0}
    exec(f"from __future__ import annotations\nif True:\n{source}", names)  # noqa: S102 - it is the server's own
    server.Site._answer = names["_answer"]  # type: ignore[method-assign]


if __name__ == "__main__":
    *options, port = sys.argv[1:]
    if options == ["uncounted"]:
        count_nothing()
        options = []
    if options:
        os.environ["XOOAI_QUIC"], certificate, key = options
        Echo().serve(f"quic://127.0.0.1:{port}", certificate=certificate, key=key)
    else:
        Echo().serve(f"http://127.0.0.1:{port}")
