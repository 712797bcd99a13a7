"""How far the loading of this process is, for who waits for it."""

from __future__ import annotations

__all__ = ["Loading", "here"]


class Loading:
    """`stage` is what is done now, as a sentence about it; "" where nothing is loaded any more."""

    __slots__ = ("stage",)

    def __init__(self) -> None:
        self.stage = ""


here = Loading()
"""Of this process."""
