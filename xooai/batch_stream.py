"""A stream of items for an endpoint that takes batches: each is a call, in batches with those of all callers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from time import monotonic
from typing import Any

from xooai import batching, mapping
from xooai.endpoint import Endpoint
from xooai.errors import DeadlineExceeded, InvalidArgument, Unavailable
from xooai.many import Many, Way
from xooai.metadata import IDEMPOTENCY_KEY
from xooai.streams import END, Stream, source_of

__all__ = ["BatchStream"]


class BatchStream(Stream):
    """The replies, in the order of the items. An item that fails ends the stream, behind the replies before it.

    The next item is asked for once there is room for it: see `batching.under_way`, and as many replies again may wait to be
    taken. Where a server has no room, an item is called anew after the pause that it asks for.
    """

    def __init__(
        self,
        caller: mapping.Caller,
        on: str | None,
        endpoint: Endpoint,
        given: dict[str, Any],
        timeout: float | None,
        own: Mapping[str, Any],
    ) -> None:
        """`timeout` are the seconds for the whole; `own` is what each call has beside its arguments. Raises InvalidArgument."""
        assert endpoint.batch is not None
        self._endpoint, self._parameter = endpoint, endpoint.batch.parameter
        source = source_of(endpoint, given)
        endpoint.check({**given, self._parameter: None})
        if IDEMPOTENCY_KEY in (own.get("metadata") or ()):
            raise InvalidArgument(f"{IDEMPOTENCY_KEY} is for one call, and each item of this stream is one")
        self._end = None if timeout is None else monotonic() + timeout
        concurrency = batching.under_way(endpoint.batch)
        self._asked = mapping.Asked(
            caller, on, source, None, concurrency, True, "raise", None, False, own, given, self._end
        )
        self._many = Many(self._called, source, Way(concurrency, is_ordered=True, keeps_errors=False))
        self._is_over = self._is_closed = False
        self._has_ended = True  # this side: its items go with the opening
        self._ready: deque[Any] = deque()

    @property
    def gives_stream(self) -> bool:
        return True

    async def _called(self, item: Any) -> Any:
        if isinstance(item, list | tuple):
            text = f"an item of the stream {self._parameter!r} is a {type(item).__name__}; it takes one item, not many"
            raise InvalidArgument(text)
        return await mapping.called(self._asked, self._endpoint, self._parameter, item)

    async def _next(self) -> Any:
        if self._ready:
            return self._ready.popleft()
        if self._is_over:
            return END
        if self._is_closed:
            raise Unavailable("the call was left before its end")
        try:
            async with asyncio.timeout(None if self._end is None else self._end - monotonic()) as scope:
                self._ready.extend(one.result for one in await self._many.more())
        except TimeoutError:
            if scope.expired():
                raise DeadlineExceeded("the time allowed for the stream has passed") from None
            raise
        self._is_over = not self._ready
        return END if self._is_over else self._ready.popleft()

    def close(self) -> None:
        """Give out nothing more."""
        self._is_closed = True

    async def aclose(self) -> None:
        """Cancel the calls under way, and close what gives the items."""
        self.close()
        await self._many.aclose()
