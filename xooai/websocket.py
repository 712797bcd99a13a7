"""How a call that streams looks on a WebSocket: pure functions, no input or output.

The client's first message is the opening, each other one an item; the server's are items. A message that holds nothing ends
the items of its side: no value of JSON or msgpack is empty. Behind the server's comes, as text, the problem that the call
ended with (RFC 9457); without one, the close of the socket says that all is well. Rules: RFC 6455.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from xooai.driver import Outcome
from xooai.errors import Code, InvalidArgument

__all__ = ["SUBPROTOCOLS", "chosen", "close_of", "timeout_in"]

_JSON = "application/json"
SUBPROTOCOLS: Mapping[str | None, str] = {None: _JSON, "xooai.json": _JSON, "xooai.msgpack": "application/msgpack"}
"""The codec of the items: JSON in messages of text, msgpack in binary ones. JSON also for who names no subprotocol."""

_WELL = 1000
_FAILED = 4000  # from here to 4999 codes are an application's own (RFC 6455 7.4.2)
_REASON = 123  # bytes of a close's reason (RFC 6455 5.5)
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")  # 9 digits are 31 years, and no number is infinite


def chosen(offered: Sequence[str]) -> str | None:
    """The subprotocol to speak, of those that a client offers: its first that is known. Raises InvalidArgument.

    A browser gives up where it offered some and none was taken, so that is refused in words.
    """
    if not offered:
        return None
    for name in offered:
        if name in SUBPROTOCOLS:
            return name
    given = ", ".join(offered)[:200]
    known = ", ".join(name for name in SUBPROTOCOLS if name)
    raise InvalidArgument(f"the subprotocols {given!r} are not spoken here; there are: {known}; without one it is JSON")


def timeout_in(query: bytes) -> float | None:
    """The seconds in `timeout=...`, which is all that the query of a WebSocket's URL may hold. Raises InvalidArgument."""
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    if not given:
        return None
    others = [name for name, _ in given if name != "timeout"]
    if others or len(given) > 1:
        named = f"{others[0][:80]!r}" if others else "'timeout' twice"
        raise InvalidArgument(
            f"the query has {named}; it takes timeout=..., once, in seconds; arguments go into the first message"
        )
    seconds = given[0][1]
    if not _SECONDS.fullmatch(seconds):
        raise InvalidArgument(f"timeout is {seconds[:40]!r}; it takes seconds, such as 30 or 2.5")
    return float(seconds)


def close_of(outcome: Outcome) -> tuple[int, str]:
    """Code and reason of the close behind a call: 1000, or 4000 and the error's code, with the start of its message."""
    if outcome.code == Code.OK:
        return _WELL, ""
    return _FAILED + outcome.code, outcome.message.encode()[:_REASON].decode(errors="ignore")
