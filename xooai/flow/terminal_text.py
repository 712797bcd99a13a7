"""Texts as wide as a terminal shows them: padded, and cut."""

from __future__ import annotations

import unicodedata

__all__ = ["cells", "centred", "columns", "cut", "padded", "printable"]


def printable(text: str) -> str:
    """The text with a `?` for what would move a cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def columns(text: str) -> int:
    """How wide a terminal shows a text: letters of East Asia are twice as wide, accents that are added have no width."""
    if text.isascii():
        return len(text)
    return sum(_column(letter) for letter in text)


def _column(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cells(text: str) -> list[str]:
    """What stands in each column: nothing in the second one of a wide letter, accents with the letter before them."""
    found: list[str] = []
    for letter in text:
        width = _column(letter)
        if width:
            found += [letter, *[""] * (width - 1)]
        elif found:
            found[-1] += letter
    return found


def padded(text: str, width: int) -> str:
    """The text with spaces behind it, in as many columns."""
    return text + " " * (width - columns(text))


def centred(text: str, width: int) -> str:
    """The text with spaces on both sides, in as many columns."""
    left = (width - columns(text)) // 2
    return padded(" " * left + text, width)


def cut(text: str, width: int) -> str:
    """The text in at most as many columns, with dots where something is left out."""
    if columns(text) <= width:
        return text
    kept = ""
    for letter in text:
        if columns(kept + letter) > width - 3:
            break
        kept += letter
    return f"{kept}..."
