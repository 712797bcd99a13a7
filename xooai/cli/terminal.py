"""What a terminal may be shown: text without control sequences, and tables that survive a pipe."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console

__all__ = ["console"]

_WIDE = 10_000  # columns where there is no terminal: no cell is wrapped or cut


def console(stream: TextIO | None = None) -> Console:
    """A console that shows text as it is, on stdout unless told otherwise: no markup, no emoji codes."""
    file = stream or sys.stdout
    return Console(file=file, width=None if file.isatty() else _WIDE, markup=False, emoji=False, highlight=False)
