"""What a terminal may be shown: text without control sequences, and tables that survive a pipe."""

from __future__ import annotations

import re
import sys
from typing import TextIO

from rich.console import Console

__all__ = ["console", "one_line", "printable"]

# Control characters, and those that reorder or break lines: a peer's text must not move the cursor or forge a line.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_WIDE = 10_000  # columns where there is no terminal: no cell is wrapped or cut


def printable(text: str) -> str:
    """The text with control characters escaped; lines and tabs stay."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The text as one line."""
    return printable(" ".join(text.split()))


def console(stream: TextIO | None = None) -> Console:
    """A console that shows text as it is, on stdout unless told otherwise: no markup, no emoji codes."""
    file = stream or sys.stdout
    return Console(file=file, width=None if file.isatty() else _WIDE, markup=False, emoji=False, highlight=False)
