"""What the base64 of bytes looks like, as a pattern (RFC 4648, section 4)."""

from __future__ import annotations

__all__ = ["pattern"]

_DIGIT = "[A-Za-z0-9+/]"
# What follows whole groups of 3 bytes, for 0, 1 and 2 bytes more: the unused bits of the last digit are 0.
_ENDS = ("", f"{_DIGIT}[AQgw]==", f"{_DIGIT}{{2}}[AEIMQUYcgkosw048]=")


def pattern(least: int = 0, most: int | None = None) -> str:
    """The regular expression for the base64 of `least` to `most` bytes, as JSON Schema takes it (ECMA 262)."""
    if not least and most is None:
        return f"^(?:{_DIGIT}{{4}})*(?:{_ENDS[1]}|{_ENDS[2]})?$"
    forms = []
    for rest, end in enumerate(_ENDS):
        fewest = max(0, -((rest - least) // 3))
        greatest = fewest if most is None else (most - rest) // 3
        if greatest >= fewest:
            forms.append(f"(?:{_DIGIT}{{4}}){{{fewest},{'' if most is None else greatest}}}{end}")
    return f"^(?:{'|'.join(forms)})$"
