"""The echo in xooai whose calls are not counted, which no option does: what begins and ends the count is taken out.

python xooai_uncounted.py PORT
"""

import sys

from xooai import ComboDoc, Executor, post, server
from xooai.call import Call
from xooai.driver import Channel


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


def begun(route: server._Route, channel: Channel) -> Call:
    """Make a call."""
    return route.call(route.endpoint, channel)


def ended(call: Call, code: int, reply: bytes | None) -> None:
    """Count nothing."""


if __name__ == "__main__":
    server._begun, server._ended = begun, ended
    Echo().serve(f"http://127.0.0.1:{sys.argv[1]}")
