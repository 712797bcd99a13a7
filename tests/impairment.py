"""What a bad network does to bytes and datagrams: decided here from a seed, done by the proxies. No input or output."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Literal

__all__ = ["CLEAN", "ENDINGS", "PERFECT", "Ending", "Fates", "Pieces", "Stream", "Weather"]

Ending = Literal["close", "reset", "hang"]
"""What a connection does once it is cut: it ends in order, it is reset, or it stays open and nothing passes any more."""


@dataclass(frozen=True)
class Stream:
    """What happens to the bytes of one direction of a connection.

    `delay` seconds before each piece goes on, more or less by up to `jitter`; pieces of at most `size` bytes; `rate` bytes a
    second. After `cut` bytes the whole connection ends as `ending` says. Where `is_random`, sizes and the place of the cut are
    drawn up to these.
    """

    delay: float = 0.0
    jitter: float = 0.0
    size: int = 0
    is_random: bool = False
    rate: float = inf
    cut: int | None = None
    ending: Ending = "close"


CLEAN = Stream()
ENDINGS: tuple[Ending, ...] = ("close", "reset", "hang")


class Pieces:
    """How the bytes of one direction go on. The same seed cuts the same bytes at the same places, however they arrive."""

    def __init__(self, stream: Stream, seed: str) -> None:
        self._stream = stream
        self._random = random.Random(seed)
        self._cut = stream.cut
        if stream.cut is not None and stream.is_random:
            self._cut = self._random.randint(0, stream.cut)
        self._left_of_piece = 0
        self.passed = 0
        """Bytes that have gone on."""

    @property
    def is_cut(self) -> bool:
        return self._cut is not None and self.passed >= self._cut

    @property
    def ending(self) -> Ending:
        return self._stream.ending

    def take(self, data: bytes) -> Iterator[tuple[float, bytes]]:
        """The pieces that go on, each with the seconds to wait before; what is behind the cut is dropped."""
        view = memoryview(data)
        if self._cut is not None:
            view = view[: self._cut - self.passed]
        while view:
            wait = 0.0
            if not self._left_of_piece:
                wait, self._left_of_piece = self._next()
            piece = bytes(view[: self._left_of_piece])
            view = view[len(piece) :]
            self._left_of_piece -= len(piece)
            self.passed += len(piece)
            yield wait + len(piece) / self._stream.rate, piece

    def _next(self) -> tuple[float, int]:
        stream, draw = self._stream, self._random
        wait = max(0.0, stream.delay + stream.jitter * draw.uniform(-1, 1))
        size = stream.size or 64 * 1024
        return wait, draw.randint(1, size) if stream.is_random else size


@dataclass(frozen=True)
class Weather:
    """What happens to the datagrams of one direction.

    `loss`, `twice`, `late` and `spoilt` are probabilities: of being lost, of coming twice, of being overtaken by those that
    follow, of a byte being changed. After `loss_until` datagrams `loss` ends. `delay` in seconds holds for all, `lateness`
    for who is late. `largest` bytes pass, larger ones do not, from datagram `largest_from` on. From datagram `dark_from` on all
    are lost for `dark` seconds.
    """

    loss: float = 0.0
    loss_until: float = inf
    twice: float = 0.0
    late: float = 0.0
    spoilt: float = 0.0
    delay: float = 0.0
    lateness: float = 0.02
    largest: int = 65_535
    largest_from: int = 0
    dark_from: int | None = None
    dark: float = inf


PERFECT = Weather()


class Fates:
    """What becomes of the datagrams of one direction, by their number. The same seed does the same to the same ones."""

    def __init__(self, weather: Weather, seed: str) -> None:
        self._weather = weather
        self._random = random.Random(seed)
        self._dark_until: float | None = None
        self.count = 0
        """Datagrams that came."""
        self.too_large = 0
        """Datagrams that were larger than what passes."""

    def of(self, datagram: bytes, now: float) -> list[tuple[float, bytes]]:
        """The copies that go on, each with the seconds to wait before. `now` is what the darkness is measured by."""
        weather, draw = self._weather, self._random
        is_lost, is_twice, is_late, is_spoilt = (draw.random() for _ in range(4))  # drawn for each, whatever its fate
        place = draw.randrange(1 << 16)
        self.count += 1
        loss = weather.loss if self.count <= weather.loss_until else 0.0
        is_too_large = len(datagram) > weather.largest and self.count > weather.largest_from
        self.too_large += is_too_large
        if self._is_dark(now) or is_lost < loss or is_too_large:
            return []
        if is_spoilt < weather.spoilt and datagram:
            at = place % len(datagram)
            datagram = datagram[:at] + bytes([datagram[at] ^ 0xFF]) + datagram[at + 1 :]
        wait = weather.delay + (weather.lateness if is_late < weather.late else 0.0)
        return [(wait, datagram)] * (2 if is_twice < weather.twice else 1)

    def _is_dark(self, now: float) -> bool:
        weather = self._weather
        if weather.dark_from is None or self.count <= weather.dark_from:
            return False
        if self._dark_until is None:
            self._dark_until = now + weather.dark
        return now < self._dark_until
