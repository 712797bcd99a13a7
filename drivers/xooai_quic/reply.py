"""Reading the reply to a call in HTTP/3: its one message, or the frames in it as they come. No input or output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xooai.driver import Outcome
from xooai.errors import Code, Internal, InvalidArgument, Unavailable, too_large
from xooai.http import end_of, outcome_of
from xooai.wire import ITEM, FrameReader

__all__ = ["Reply"]

Headers = list[tuple[bytes, bytes]]


class Reply:
    """One response. `codecs` are the media types of frames that were asked for, each with the codec of what is in it."""

    def __init__(self, headers: Headers, codecs: Mapping[str, str], limit: int) -> None:
        """Raises Internal for a stream that is none, and ResourceExhausted for one that is announced as too large."""
        self.outcome: Outcome | None = None
        """How the call ended, once that is known."""
        self._limit = limit
        self._status = int(dict(headers)[b":status"])
        self._headers = [field for field in headers if not field[0].startswith(b":")]
        self._frames: FrameReader | None = None
        self._codec = ""
        self._parts: list[bytes] = []
        self._size = 0
        if codecs and 200 <= self._status < 300:
            self._begin_frames(codecs)
        else:
            self._check(self._announced())

    def _begin_frames(self, codecs: Mapping[str, str]) -> None:
        kind = next((value.decode("latin-1") for name, value in self._headers if name == b"content-type"), "")
        codec = codecs.get(kind.partition(";")[0].strip().lower())
        if codec is None:
            wanted, given = " or ".join(codecs), kind or "no media type"
            raise Internal(f"the server answered with {given}; a stream was asked for: {wanted}")
        self._codec, self._frames = codec, FrameReader(self._limit)

    def _announced(self) -> int:
        found = dict(self._headers).get(b"content-length", b"0")
        return int(found) if found.isdigit() and len(found) < 19 else 0

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise too_large(size, self._limit, "the reply")

    def take(self, data: bytes) -> Iterator[bytes]:
        """The items that are whole now. To be gone through to its end.

        Raises Internal for what is no stream and ResourceExhausted for what is too large, behind the items before that.
        """
        if self._frames is None:
            self._parts.append(data)
            self._size += len(data)
            self._check(self._size)
            return
        try:
            for kind, frame in self._frames.feed(data):
                if kind == ITEM:
                    yield frame
                else:
                    self.outcome = end_of(frame, self._codec, self._headers)
        except InvalidArgument as error:
            raise Internal(f"what the server sent is not a stream of frames: {error}") from None

    def end(self) -> list[bytes]:
        """The response has come to its end: what this makes whole. Raises Unavailable for a stream without its end."""
        if self._frames is not None:
            if self.outcome is None:
                raise Unavailable("the server ended the stream without its last frame: it is cut off")
            return []
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self.outcome = outcome_of(self._status, self._headers, body)
        return [body] if self.outcome.code == Code.OK else []
