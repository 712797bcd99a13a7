"""A server of one endpoint, as a process: tells its URL, answers with its process id, and writes down each call that begins."""

from __future__ import annotations

import asyncio
import os
import sys

from xooai import Executor, Text, post


class Reader(Executor):
    """`book` is a file to which each call adds a line."""

    def __init__(self, book: str) -> None:
        self._book = os.open(book, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    @post
    async def read(self, doc: Text) -> Text:
        os.write(self._book, f"{doc.value}\n".encode())
        await asyncio.sleep(0.005)
        return Text(value=str(os.getpid()))


if __name__ == "__main__":
    url, book = sys.argv[1:]
    with Reader(book) as reader:
        reader.serve(url)
