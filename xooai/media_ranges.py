"""The media types that somebody accepts (RFC 9110, 12.5.1)."""

from __future__ import annotations

__all__ = ["media_ranges"]

_LONGEST = 8192  # characters looked at: as long as a header may be


def media_ranges(accept: str) -> list[tuple[str, float]]:
    """The media types of an Accept header in lower case with their qualities, in its order. Never refuses."""
    found = []
    for part in accept[:_LONGEST].split(","):
        media_type, *parameters = part.split(";")
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        found.append((media_type.strip().lower(), quality))
    return found
