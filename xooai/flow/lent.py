"""What a Flow is given by a caller that may change it meanwhile: written down before any node begins, and read by each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xooai.codec import MSGPACK
from xooai.driver import MESSAGE_LIMIT
from xooai.endpoint import Endpoint
from xooai.errors import too_large
from xooai.flow.unread import Unread
from xooai.origin import NO_MARKS
from xooai.payload import from_here, marks_but_own

__all__ = ["Lent"]


class Lent(Unread):
    """Arguments of one call, as they are now. Raises ResourceExhausted for what no message holds."""

    __slots__ = ("_endpoint", "_frame", "_marks")

    def __init__(self, endpoint: Endpoint, arguments: Mapping[str, Any]) -> None:
        self._endpoint = endpoint
        self._frame = MSGPACK.encode(endpoint.arguments, arguments)
        self._marks = marks_but_own(arguments) if endpoint.arguments.facts.documents else NO_MARKS
        if len(self._frame) > MESSAGE_LIMIT:  # as where each node is called by itself
            raise too_large(len(self._frame), MESSAGE_LIMIT, "the request")

    def value(self) -> dict[str, Any]:
        """The arguments by name: others each time, so that nobody else holds them."""
        return from_here(self._endpoint.arguments, MSGPACK, self._frame, self._marks)  # type: ignore[no-any-return]
