"""What somebody may have meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from xooai.lazy import lazy

if TYPE_CHECKING:
    import difflib
else:
    difflib = lazy("difflib")

__all__ = ["nearest"]


def nearest(given: str, known: Iterable[str]) -> str:
    """The hint `; did you mean 'read'?`, where a known name is near."""
    found = difflib.get_close_matches(given, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
