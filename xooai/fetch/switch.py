"""Whether documents of peers may lead to URLs: an operator says so for a process, by its environment."""

from __future__ import annotations

import functools
import os

import msgspec

from xooai.errors import InvalidArgument
from xooai.fetch.policy import FetchPolicy

__all__ = ["SWITCH", "switched_on"]

SWITCH = "XOOAI_FETCH"
"""The environment variable that says which hosts may be asked, with commas between them, or a whole policy as JSON."""


def switched_on() -> FetchPolicy | None:
    """What this process may fetch for peers; None where nothing was switched on. Raises InvalidArgument."""
    given = os.environ.get(SWITCH, "").strip()
    return _read(given) if given else None


@functools.lru_cache(maxsize=8)
def _read(given: str) -> FetchPolicy:
    if not given.startswith("{"):
        return FetchPolicy(hosts=frozenset(host.strip() for host in given.split(",") if host.strip()))
    try:
        return msgspec.json.decode(given, type=_Policy)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(
            f'{SWITCH} is no policy: {error}; it is written {{"hosts": ["files.example.com"]}}'
        ) from None


class _Policy(FetchPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As JSON has it: a key that is not known may be one that was to forbid something."""
