"""How many items a second does xooai stream over HTTP, against a bare application on uvicorn that yields the same chunks?"""

import contest
import stream_load
from contest import Entry
from exchanges import COMBO, Exchange, items

COUNT = 10_000  # items of a stream: what a call costs beside its items is the business of http_unary
FRAMES = "application/vnd.xooai.frames+json"
EVENTS = "text/event-stream"
WORD, TEXT = "token", {"kind": "text", "value": "token"}


def bare(key: str, name: str, exchange: Exchange, limit: str) -> Entry:
    """Return a line of uvicorn alone."""
    return Entry(key, name, "stream_limit", "uvicorn", exchange, limit, stream_load.measure)


def ours(key: str, name: str, exchange: Exchange, limit: str) -> Entry:
    """Return a line of xooai."""
    return Entry(key, name, "xooai_stream", "xooai", exchange, limit, stream_load.measure, ("http",))


def of(path: str, item: object, accept: str = "*/*") -> Exchange:
    """Ask for a stream."""
    return items(path, item, COUNT, accept)


ENTRIES = (
    bare("word-limit", "limit: bare ASGI on uvicorn, ready lines of a str", of("/words", WORD), "word-limit"),
    ours("word", "xooai, a str as lines", of("/streams/words", WORD), "word-limit"),
    bare("text-limit", "limit: ready lines of a Text", of("/texts", TEXT), "text-limit"),
    ours("text", "xooai, a Text as lines", of("/streams/texts", TEXT), "text-limit"),
    bare("limit", "limit: ready lines of a document", of("/documents", COMBO), "limit"),
    bare("dumping", "the same, each document dumped", of("/dumped", COMBO), "limit"),
    ours("lines", "xooai, a document as lines", of("/streams/documents", COMBO), "limit"),
    ours("thread", "xooai, the same, def", of("/streams/documents_in_thread", COMBO), "limit"),
    bare("event-limit", "limit: ready events", of("/events", COMBO, EVENTS), "event-limit"),
    ours("events", "xooai, a document as events", of("/streams/documents", COMBO, EVENTS), "event-limit"),
    bare("frame-limit", "limit: ready frames", of("/frames", COMBO, FRAMES), "frame-limit"),
    ours("frames", "xooai, a document as frames", of("/streams/documents", COMBO, FRAMES), "frame-limit"),
)

if __name__ == "__main__":
    contest.run(__doc__, ENTRIES, "1,16", ("connections", "items", "an item"))
