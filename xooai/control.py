"""What the processes of one server tell one another: each has answers by name, and any may ask all for theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["WAIT", "Others", "answer", "ask", "join", "own"]

WAIT = 1.0  # seconds for the answers of all: who asks (a scrape, a page) rather has those of the others than none

_ANSWERS: dict[str, Callable[[], bytes]] = {}


class Others(Protocol):
    """The way to the other processes of this server."""

    async def ask(self, name: str) -> list[bytes]:
        """Their answers, of those that have one and gave it within `WAIT`."""


_others: Others | None = None


def answer(name: str, function: Callable[[], bytes]) -> None:
    """Answer to `name` by what `function` returns: called on the loop, whenever somebody asks. The last one given counts."""
    _ANSWERS[name] = function


def own(name: str) -> bytes | None:
    """The answer of this process; None where it has none."""
    function = _ANSWERS.get(name)
    return None if function is None else function()


async def ask(name: str) -> list[bytes]:
    """The answers of all processes of this server, its own first; a process alone has just that. Ends within `WAIT`.

    One that does not answer in time, or has none, is left out.
    """
    mine = own(name)
    others = [] if _others is None else await _others.ask(name)
    return others if mine is None else [mine, *others]


def join(others: Others | None) -> None:
    """Ask these, too, from now on; None: nobody."""
    global _others  # noqa: PLW0603 - a process is one of a server's, or none
    _others = others
