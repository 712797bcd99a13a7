"""The log of calls: one record for each call that a server has answered, or refused, over every driver alike."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from xooai.driver import Channel, Head
from xooai.errors import Code
from xooai.log import shown
from xooai.naming import given_id
from xooai.watching import Watch

__all__ = ["CALLS", "CallLog", "refused"]

CALLS = logging.getLogger("xooai.calls")
"""Where it is written, at INFO. A server looks at its level when it begins. Its records are made clean, and so need no filter."""

_KNOWN = 1024  # names that are cleaned once: a server has some dozens of endpoints, and strangers make up others
_LONGEST = 200  # characters of a client's text: enough for any name that there is


class CallLog:
    """Tells of one call when it is over. Implements `xooai.watching.Watcher`."""

    def __init__(self, channel: Channel, is_known: bool) -> None:
        self._channel = channel

    def began(self, watch: Watch) -> None:
        """Nothing is told before the end."""

    def gave(self, watch: Watch) -> None:
        """Nothing is told before the end."""

    def ended(self, watch: Watch) -> None:
        call, outcome = watch.call, watch.outcome
        id = call.id if call is not None else (outcome.id if outcome is not None else None)
        told: dict[str, Any] = {
            "ms": round(watch.seconds * 1000, 3),
            "received": watch.received,
            "sent": watch.sent,
        }
        if call is not None and call.head.shape:
            told["items_received"], told["items_sent"] = watch.items_received, watch.items_sent
        trace_id = None if call is None else call.trace_id
        _write(self._channel.head, watch.code, told, id or "", trace_id or "")


def refused(head: Head, code: int) -> None:
    """Tell of a call that was refused by its head."""
    _write(head, code, {}, given_id(head.metadata) or "", "")


def _write(head: Head, code: int, told: dict[str, Any], request_id: str, trace_id: str) -> None:
    executor, endpoint = _names(head.path)
    name = Code(code).name if code in Code._value2member_map_ else str(code)
    fields = {
        "executor": executor,
        "endpoint": endpoint,
        "code": name,
        **told,
        "driver": head.driver,
        "peer": head.peer,
    }
    if head.identity:
        fields["tenant"] = _tenant(head.identity)
    took = f" in {told['ms']:g} ms, {told['received']} B in, {told['sent']} B out" if told else ""
    tenant = f" for {fields['tenant']}" if head.identity else ""
    text = f"{executor}/{endpoint} {name}{took}, {head.peer or 'here'} {head.driver}{tenant}"
    extra = {"request_id": request_id, "trace_id": trace_id, "fields": fields}
    # Not by info(), which looks for the line that calls it.
    CALLS.handle(CALLS.makeRecord(CALLS.name, logging.INFO, "", 0, text, (), None, extra=extra))


@lru_cache(maxsize=_KNOWN)
def _names(path: str) -> tuple[str, str]:
    executor, _, endpoint = shown(path.removeprefix("/"), _LONGEST).partition("/")
    return executor, endpoint


@lru_cache(maxsize=_KNOWN)
def _tenant(identity: str) -> str:
    return shown(identity, _LONGEST)
