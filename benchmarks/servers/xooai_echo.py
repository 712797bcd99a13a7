"""The echo in xooai: an `async def` and a `def` endpoint of one ComboDoc, and endpoints of one Text and one Image.

python xooai_echo.py [LIBRARY CERTIFICATE KEY] PORT: over HTTP, or by that library over QUIC
"""

import os
import sys

from xooai import ComboDoc, Executor, Image, Text, post


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


if __name__ == "__main__":
    *over_quic, port = sys.argv[1:]
    if over_quic:
        os.environ["XOOAI_QUIC"], certificate, key = over_quic
        Echo().serve(f"quic://127.0.0.1:{port}", certificate=certificate, key=key)
    else:
        Echo().serve(f"http://127.0.0.1:{port}")
