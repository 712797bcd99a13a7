"""How far the loading of this process is, for who waits for it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Loading", "here"]


class Loading:
    """`stage` is what is done now, as a sentence about it; "" where nothing is loaded any more."""

    __slots__ = ("stage", "tell")

    def __init__(self) -> None:
        self.stage = ""
        self.tell: Callable[[str], object] | None = None
        """Called with each stage before it begins: one that keeps the loop from running could not be told of later."""

    def at(self, stage: str) -> None:
        """Begin a stage; "" where there is none any more."""
        self.stage = stage
        if self.tell is not None:
            self.tell(stage)


here = Loading()
"""Of this process."""
