"""Reading the response to a call that streams: the items in it as they come. No input or output."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from xooai.driver import Outcome
from xooai.errors import Code, Internal, InvalidArgument, ResourceExhausted, XooaiError
from xooai.http import end_of, outcome_of
from xooai.wire import ITEM, FrameReader
from xooai_http.response_reader import Response, ResponseReader

__all__ = ["StreamReader"]


class StreamReader(ResponseReader):
    """Reads one response, by the rules and within the limits of any other; `limit` is that of one item.

    `codecs` are the media types of frames that were asked for, each with the codec of what is in it. A response of any
    other type is an error; where nothing was asked for, a whole response is the only item.
    """

    __slots__ = ("_codec", "_codecs", "_frames", "_head", "_pieces", "failure", "is_whole", "outcome")

    is_whole: bool
    """Whether nothing more comes."""
    outcome: Outcome | None
    """How the call ended, once that is known. None though the response is whole: it was cut off."""

    def __init__(self, limit: int, codecs: Mapping[str, str], *, until_close: bool = True) -> None:
        super().__init__(limit, until_close=until_close)
        self._codecs = codecs
        self._codec = ""
        self._frames: FrameReader | None = None
        self._head: list[tuple[bytes, bytes]] = []  # that of the frames
        self._pieces: list[bytes] = []
        self.is_whole = False
        self.outcome = None
        self.failure: XooaiError | None = None
        """What is wrong behind the items that were returned last: the call ends by it."""

    def take(self, data: bytes | memoryview) -> list[bytes]:
        """Take what came in and return the items that are whole now. Not to be called once the response is whole.

        Raises ResourceExhausted for what is beyond a limit and Internal for what is no stream of frames in HTTP/1.1.
        """
        response = self._parse(data, None)
        items = self._items() if self._pieces else []
        return items if response is None else items + self._ended(response)

    def closed(self) -> list[bytes]:
        """The server has closed its side: return what this makes whole."""
        response = self.end()
        return [] if response is None else self._ended(response)

    def _items(self) -> list[bytes]:
        assert self._frames is not None
        content, self._pieces = b"".join(self._pieces), []
        items = []
        try:
            for kind, frame in self._frames.feed(content):
                if kind == ITEM:
                    items.append(frame)
                else:
                    self.outcome = end_of(frame, self._codec, self._head)
        except InvalidArgument as error:
            self._stop(Internal(f"what the server sent is not a stream of frames: {error}"), items)
        except ResourceExhausted as error:
            self._stop(error, items)
        return items

    def _stop(self, error: XooaiError, items: list[bytes]) -> None:
        if not items:
            raise error from None
        self.failure = error

    def _ended(self, response: Response) -> list[bytes]:
        self.is_whole = True
        if self._frames is not None:
            return []
        outcome = self.outcome = outcome_of(*response)
        return [response[2]] if outcome.code == Code.OK else []

    # What the parser calls.

    def on_headers_complete(self) -> None:
        if self._codecs and 200 <= self._parser.get_status_code() < 300:
            self._begin_frames()
        super().on_headers_complete()

    def _begin_frames(self) -> None:
        kind = next((value.decode("latin-1") for name, value in self._headers if name == b"content-type"), "")
        codec = self._codecs.get(kind.partition(";")[0].strip().lower())
        if codec is None:
            wanted, given = " or ".join(self._codecs), kind or "no media type"
            raise self._refuse(Internal(f"the server answered with {given}; a stream was asked for: {wanted}"))
        self._codec, self._head = codec, self._headers
        self._frames = FrameReader(self._limit)
        self._limit = sys.maxsize  # of the stream: each frame has its own
        self._until_close = True  # for the last frame says that it is the last

    def on_body(self, piece: bytes) -> None:
        if self._frames is None:
            super().on_body(piece)
        else:
            self._quiet = 0
            self._pieces.append(piece)
