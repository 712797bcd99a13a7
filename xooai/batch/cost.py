"""What a batch costs, learnt as batches end: seconds for having one at all, and for each item in it."""

from __future__ import annotations

__all__ = ["Cost"]

FORGET = 0.95  # what of the past counts after each batch: a model that warms up, or slows down, is followed in twenty


class Cost:
    """A straight line through the durations of recent batches over their weights, by least squares; the last count most."""

    def __init__(self) -> None:
        self._n = self._x = self._y = self._xx = self._xy = 0.0

    @property
    def is_known(self) -> bool:
        return self._n > 0

    def took(self, weight: float, seconds: float) -> None:
        """A batch of this weight took so long."""
        self._n = self._n * FORGET + 1
        self._x = self._x * FORGET + weight
        self._y = self._y * FORGET + seconds
        self._xx = self._xx * FORGET + weight * weight
        self._xy = self._xy * FORGET + weight * seconds

    def line(self) -> tuple[float, float]:
        """Seconds for a batch at all, and for each unit of weight, neither below 0; nothing known is 0, 0.

        Where all batches weigh alike nobody can tell one from the other: half is taken for each.
        """
        if not self._n:
            return 0.0, 0.0
        x, y = self._x / self._n, self._y / self._n
        spread = self._xx / self._n - x * x
        if spread <= 1e-6 * x * x:
            return y / 2, y / 2 / x if x else 0.0
        each = max(0.0, (self._xy / self._n - x * y) / spread)
        whole = y - each * x
        return (whole, each) if whole >= 0 else (0.0, y / x)

    def weight_within(self, seconds: float) -> float:
        """The weight of a batch that takes so long; infinite while nothing is known."""
        whole, each = self.line()
        return (seconds - whole) / each if each > 0 else float("inf")
