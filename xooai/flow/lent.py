"""What a Flow is given by a caller that may change it meanwhile: as it is before any node begins, for each node by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xooai.codec import MSGPACK
from xooai.driver import MESSAGE_LIMIT
from xooai.endpoint import Endpoint
from xooai.errors import too_large
from xooai.flow.unread import Unread
from xooai.origin import NO_MARKS, Sure
from xooai.payload import from_here, marks_but_own

__all__ = ["Lent"]


class Lent(Unread):
    """Arguments of one call, as they are now. Raises ResourceExhausted for what no message holds."""

    __slots__ = ("_endpoint", "_frame", "_marks", "shares")

    def __init__(self, endpoint: Endpoint, arguments: Mapping[str, Any]) -> None:
        self._endpoint = endpoint
        self.shares: dict[str, Sure] = {}
        """Those of the nodes for which they were copied, by id; each is taken once."""
        self._write(arguments)

    def _write(self, arguments: Mapping[str, Any]) -> None:
        endpoint = self._endpoint
        self._frame: bytes | None = MSGPACK.encode(endpoint.arguments, arguments)
        self._marks = marks_but_own(arguments) if endpoint.arguments.facts.documents else NO_MARKS
        if len(self._frame) > MESSAGE_LIMIT:  # as where each node is called by itself
            raise too_large(len(self._frame), MESSAGE_LIMIT, "the request")

    @classmethod
    def shared(cls, endpoint: Endpoint, shares: dict[str, Sure]) -> Lent:
        """Arguments that were copied for each node that takes some: nothing is written unless somebody looks."""
        lent = cls.__new__(cls)
        lent._endpoint, lent.shares, lent._frame = endpoint, shares, None
        return lent

    def value(self) -> dict[str, Any]:
        """The arguments by name: others each time, so that nobody else holds them."""
        if self._frame is None:
            self._write({name: one for share in self.shares.values() for name, one in share.items()})
        assert self._frame is not None
        return from_here(self._endpoint.arguments, MSGPACK, self._frame, self._marks)  # type: ignore[no-any-return]
