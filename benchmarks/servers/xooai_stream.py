"""Streams in xooai: words, texts and documents, a conversation, and one echo; over the driver of a URL's scheme."""

import sys
from collections.abc import AsyncIterator, Iterator

from xooai import ComboDoc, Executor, Text, post, stream


class Document(ComboDoc):
    """Three plain fields."""

    text: str
    count: int
    score: float


DOCUMENT = Document(text="The quick brown fox jumps over the lazy dog.", count=42, score=0.875)
TEXT = Text(value="token")


class Streams(Executor):
    """Gives what was made before."""

    @stream
    async def words(self, count: int) -> AsyncIterator[str]:
        """Give a word again and again."""
        for _ in range(count):
            yield "token"

    @stream
    async def texts(self, count: int) -> AsyncIterator[Text]:
        """Give a text again and again."""
        for _ in range(count):
            yield TEXT

    @stream
    async def documents(self, count: int) -> AsyncIterator[Document]:
        """Give a document again and again."""
        for _ in range(count):
            yield DOCUMENT

    @stream
    def documents_in_thread(self, count: int) -> Iterator[Document]:
        """Give a document again and again, from a worker thread."""
        for _ in range(count):
            yield DOCUMENT

    @post
    async def combo(self, doc: Document) -> Document:
        """Answer the document that came."""
        return doc

    @stream
    async def chat(self, doc: AsyncIterator[Document]) -> AsyncIterator[Document]:
        """Answer each document as it comes."""
        async for one in doc:
            yield one


if __name__ == "__main__":
    Streams().serve(f"{sys.argv[1]}://127.0.0.1:{sys.argv[2]}")
