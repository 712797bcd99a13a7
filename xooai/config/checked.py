"""What a file says, checked by a model: unknown keys and wrong types are told with the line."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from xooai.config.reading import Written
from xooai.hints import nearest

__all__ = ["Said", "checked"]

S = TypeVar("S", bound="Said")

_TAKES = {
    "bool_type": "takes true or false",
    "dict_type": "takes a mapping, key: value",
    "model_type": "takes a mapping, key: value",
    "float_type": "takes a number",
    "int_type": "takes a whole number",
    "list_type": "takes a list",
    "string_type": "takes a text",
    "tuple_type": "takes a text, or a list of texts",
}
"""What is said of pydantic's mistakes, in the words of who writes the file."""


class Said(BaseModel):
    """The keys that a mapping in a file may have, and what they take."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def checked(model: type[S], written: Written, place: tuple[str | int, ...], what: str) -> S:
    """The mapping at `place`, which is `what`. Raises InvalidArgument for the first mistake in it."""
    value = written.value
    for step in place:
        value = value[step]
    if not isinstance(value, dict):
        written.refuse(f"{what} is a mapping, key: value, and not {_told(value)}", place)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
        known = [field.alias or name for name, field in model.model_fields.items()]
        key = str(first["loc"][0]) if first["loc"] else ""
        inside = (*place, *first["loc"])
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            written.refuse(f"{what} has no key {key!r:.80}{nearest(key, known)}; there are: {', '.join(known)}", inside)
        if first["type"] == "missing":
            written.refuse(f"{what} has no {key!r}, which it needs", place)
        takes = _TAKES.get(first["type"], first["msg"])
        written.refuse(f"{'.'.join(map(str, first['loc']))} {takes}, and not {_told(first['input'])}", inside)


def _told(value: object) -> str:
    if isinstance(value, str | list):
        return "a list" if isinstance(value, list) else "a text"
    return "nothing" if value is None else repr(value)[:80]
