"""Names of calls: the request id that a log and an error are found by, and the trace that a call is a part of.

Both come from strangers: what is not well-formed counts as not given, and is never written anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count
from os import urandom

from xooai.metadata import BATCHES_HEADER, ID_HEADER, TRACE_HEADERS

__all__ = ["BATCHES", "LONGEST", "given_batches", "given_id", "new_id", "trace_headers", "trace_id_of", "well_formed"]

_PREFIX = urandom(4).hex()  # ids of different processes differ
_NUMBERS = count(1)

# Patterns as texts, which `re` compiles on first use. An id of 128 characters holds two UUIDs and more.
_ID = r"[A-Za-z0-9][A-Za-z0-9._:=+/@-]{0,127}"
_PARENT = r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"  # W3C Trace Context 3.2.2
_STATE = (  # W3C Trace Context 3.3.1.3
    r"(?:[a-z][_0-9a-z*/-]{0,255}|[a-z0-9][_0-9a-z*/-]{0,240}@[a-z][_0-9a-z*/-]{0,13})=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
)
_STATES = 32  # members of a tracestate, by the same
_KEY, _VALUE, _SPACE = r"[!#-'*+\-.0-9A-Z^-z|~]++", r"[!#-+\--:<-\[\]-~]*+", r"[ \t]*+"  # W3C Baggage 3.3.1
_PAIR = rf"{_KEY}{_SPACE}={_SPACE}{_VALUE}{_SPACE}"
_BAGGAGE = rf"{_PAIR}(?:;{_SPACE}{_KEY}{_SPACE}(?:={_SPACE}{_VALUE}{_SPACE})?)*+"
_BAGGAGES = 64  # members of a baggage: what W3C Baggage 3.3.2 asks to pass on
BATCHES = 128  # named by one call: two KiB
_BATCHES = rf"[0-9a-f]{{16}}(?:,[0-9a-f]{{16}}){{0,{BATCHES - 1}}}"
_LATER = r"(?!00)[0-9a-f]{2}-.*"  # of a later version, which may say more behind it
LONGEST = {
    "traceparent": 512,  # 55 in this version
    "tracestate": 512,  # what W3C Trace Context 3.3.1.5 asks to pass on
    "baggage": 4096,  # W3C Baggage 3.3.2 asks for 8,192, which is all that many servers take of headers, ours among them
}


def new_id() -> str:
    """An id for a call whose caller gave none."""
    return f"{_PREFIX}-{next(_NUMBERS):x}"


def given_id(metadata: Mapping[str, str]) -> str | None:
    """The id that the caller gave, where it is one: up to 128 letters, digits and `._:=+/@-`."""
    given = metadata.get(ID_HEADER)
    return given if given is not None and re.fullmatch(_ID, given) is not None else None


def given_batches(metadata: Mapping[str, str]) -> str:
    """The batches that the caller says wait for its call: up to 128 times 16 hexadecimal digits, with commas between."""
    given = metadata.get(BATCHES_HEADER)
    return given if given is not None and re.fullmatch(_BATCHES, given) is not None else ""


def trace_id_of(metadata: Mapping[str, str]) -> str | None:
    """The trace that the caller says its call is a part of: 32 hexadecimal digits."""
    given = metadata.get("traceparent")
    if given is None or len(given) > LONGEST["traceparent"]:
        return None
    found = re.match(_PARENT, given)
    if found is None or (found.end() != len(given) and re.fullmatch(_LATER, given) is None):
        return None
    return found[1]


def trace_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """What says which trace a call is a part of, as far as it is well-formed: nothing without a `traceparent`, but baggage."""
    found = {}
    has_parent = trace_id_of(metadata) is not None
    for name in TRACE_HEADERS:
        value = metadata.get(name)
        if value is None or len(value) > LONGEST[name] or not (value.isascii() and value.isprintable()):
            continue
        if has_parent or name == "baggage":
            found[name] = value
    return found


def well_formed(name: str, value: str) -> str:
    """What of a `tracestate` or a `baggage` may be read: the former all or nothing, the latter each member; others as they are.

    What OpenTelemetry reads it by writes a line into the log for each member that is malformed.
    """
    if name not in ("tracestate", "baggage"):
        return value
    members = [member for part in value.split(",") if (member := part.strip(" \t"))]
    if name == "baggage":
        return ",".join([member for member in members if re.fullmatch(_BAGGAGE, member)][:_BAGGAGES])
    keys = {member.partition("=")[0] for member in members}
    is_right = len(keys) == len(members) <= _STATES and all(re.fullmatch(_STATE, member) for member in members)
    return ",".join(members) if is_right else ""
