"""Names as protobuf takes them: made of those in Python, no two alike in one scope."""

from __future__ import annotations

import re

__all__ = ["Names", "camel", "field_name", "package_name", "snake", "upper"]

_OTHER = re.compile(r"[^A-Za-z0-9]+")
_BEFORE_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def _key(name: str) -> str:
    """What protoc compares: it refuses fields that are alike in another language's case."""
    return name.replace("_", "").lower()


class Names:
    """The names of one scope."""

    def __init__(self, *taken: str) -> None:
        self._taken = {_key(name) for name in taken}

    def take(self, name: str) -> str:
        """This name, or with the first number behind it that makes it another than those before."""
        found, number = name, 1
        while _key(found) in self._taken:
            number += 1
            found = f"{name}_{number}" if "_" in name or name.islower() else f"{name}{number}"
        self._taken.add(_key(found))
        return found


def camel(name: str) -> str:
    """`min_score` → `MinScore`, `Box[int]` → `BoxInt`, `2d` → `X2d`."""
    found = "".join(part[:1].upper() + part[1:] for part in _OTHER.split(name))
    return found if found[:1].isalpha() else f"X{found}"


def field_name(name: str) -> str:
    """A name as it is where it can be: `x-y` → `x_y`, `2d` → `f_2d`."""
    found = re.sub(r"[^A-Za-z0-9_]", "_", name).strip("_") or "field"
    return found if found[0].isalpha() else f"f_{found}"


def snake(name: str) -> str:
    """`TextList` → `text_list`."""
    return _BEFORE_CAPITAL.sub("_", name).lower()


def upper(name: str) -> str:
    """`EyeColour` → `EYE_COLOUR`, `dark-red` → `DARK_RED`."""
    return _OTHER.sub("_", snake(name)).strip("_").upper()


def package_name(name: str) -> str:
    """`my-reader.v2` → `my_reader_v2`."""
    return field_name(name).lower()
