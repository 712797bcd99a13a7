"""What the base64 of bytes looks like, as a pattern: the alphabet of RFC 4648's section 4 or of its section 5, padded or not."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["pattern"]

_ALPHABETS = ("[A-Za-z0-9+/]", "[A-Za-z0-9_-]")
_LAST = ("", "{digit}[AQgw]={{0,2}}", "{digit}{{2}}[AEIMQUYcgkosw048]=?")
"""What follows whole groups of 3 bytes for 0, 1 and 2 bytes more: the unused bits of the last digit are 0."""


def pattern(least: int = 0, most: int | None = None) -> str:
    """The regular expression for `least` to `most` bytes, as JSON Schema takes it (ECMA 262)."""
    return f"^(?:{'|'.join(form for digit in _ALPHABETS for form in _forms(digit, least, most))})$"


def _forms(digit: str, least: int, most: int | None) -> Iterator[str]:
    last = [end.format(digit=digit) for end in _LAST]
    if not least and most is None:
        yield f"(?:{digit}{{4}})*(?:{last[1]}|{last[2]})?"
        return
    for rest, end in enumerate(last):
        fewest = max(0, -((rest - least) // 3))
        greatest = fewest if most is None else (most - rest) // 3
        if greatest >= fewest:
            yield f"(?:{digit}{{4}}){{{fewest},{'' if most is None else greatest}}}{end}"
