"""Bodies that stream, in an OpenAPI 3.1 document: which media types there are, and what each item is.

OpenAPI 3.1 has no word for the items of a stream (3.2 has `itemSchema`): theirs stands as `x-itemSchema`, an extension,
and the descriptions say in words how items are told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from xooai.codec import JSON
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument
from xooai.http import EVENTS, LINES
from xooai.sample import NoSample, sample

__all__ = ["streamed_reply", "streamed_request"]

Json = Any


def streamed_request(one: Endpoint, opening: Json, item: Json, definitions: Mapping[str, Json]) -> Json:
    """The body of a call that takes a stream."""
    description = (
        f"A stream of JSON values, one a line: first an object with the other arguments (`{{}}` if there are none; its schema "
        f"is `x-openingSchema`), then the items of `{one.incoming}` (`x-itemSchema`). Items are taken as they come; the "
        "body may be of any length. A page in a browser opens a WebSocket here instead: each message is such a value, and an "
        "empty one ends the stream."
    )
    content = {**_text(item), "x-openingSchema": opening, **_example(one, opening, item, definitions)}
    return {"required": True, "description": description, "content": {LINES: content}}


def streamed_reply(item: Json) -> Json:
    """The response of a call that gives a stream."""
    description = (
        f"A stream of items (`x-itemSchema`), sent as they are made: each line of `{LINES}`, or the data of each event of "
        f"`{EVENTS}` (chosen by Accept), is the JSON of one. An error that comes after items is the last line, "
        '`{"error": ...}`, or an event `error`, holding a problem document; the connection is then closed without an '
        "end of the body. A page's EventSource, which can only GET, gives the object of the arguments as the query "
        "parameter `arguments`; an event `end` tells it that all came."
    )
    return {"description": description, "content": {media_type: _text(item) for media_type in (LINES, EVENTS)}}


def _text(item: Json) -> Json:
    return {"schema": {"type": "string"}, "x-itemSchema": item}


def _example(one: Endpoint, opening: Json, item: Json, definitions: Mapping[str, Json]) -> Json:
    """The keyword `example`: an opening and an item; nothing where none is found that the endpoint takes."""
    assert one.items is not None
    try:
        first, second = (msgspec.json.encode(sample(schema, definitions)) for schema in (opening, item))
        JSON.decode(one.arguments, first)
        JSON.decode(one.items, second)
    except (NoSample, InvalidArgument):
        return {}
    return {"example": f"{first.decode()}\n{second.decode()}\n"}
