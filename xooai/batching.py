"""What an endpoint that takes batches is told, and how its signature is read."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import isabstract
from math import isfinite
from types import UnionType
from typing import Annotated, Any, Union

import msgspec
from pydantic import JsonValue, RootModel
from typing_extensions import TypeAliasType

from xooai.streamed import UNTOLD

__all__ = ["MOST", "Batch", "batch_of", "item_of", "reply_item_of", "under_way"]

WAIT = 0.005  # seconds: below what people notice, and above the spread of calls that belong together

LEAST = 16  # items of one stream that are with an endpoint of small batches: as many as any stream has under way
MOST = 64  # and of large ones: each is a call, and over HTTP/1.1 a connection; other callers fill the rest of a batch

_ALIASES = (TypeAliasType, getattr(typing, "TypeAliasType", TypeAliasType))
_ARRAYS = (list, tuple, set, frozenset, Sequence)  # what travels as a list does


class Batch(msgspec.Struct, frozen=True):
    """How calls are gathered: the parameter that holds their items, and when a batch leaves.

    `wait` and `target` are in seconds; `weight` says what an item counts, else 1; of `concurrency` batches at most run side
    by side; with `split`, a batch that fails is run again in halves, so that one item fails alone.
    """

    parameter: str = ""
    size: int = 1
    wait: float = WAIT
    weight: Callable[[Any], float] | None = None
    concurrency: int = 1
    target: float | None = None
    split: bool = False


def under_way(batch: Batch) -> int:
    """How many items of one stream are with an endpoint that takes batches: two batches, so that one fills while one runs."""
    return min(max(LEAST, 2 * batch.size), MOST)


def batch_of(where: str, size: object, **more: Any) -> Batch | None:
    """What `@post` was told of batches; None where it was told nothing. Raises TypeError."""
    given = {name: value for name, value in more.items() if value is not None}
    if size is None:
        if given:
            raise TypeError(f"{where}: {_argument(next(iter(given)))}= is for an endpoint with batch_size=")
        return None
    if not _is_count(size):
        raise TypeError(f"{where}: batch_size={size!r} is no number of items; it takes a whole number above 0")
    for name in ("wait", "target"):
        if name in given and not _is_seconds(given[name], zero=name == "wait"):
            raise TypeError(f"{where}: batch_{name}={given[name]!r} is no number of seconds")
    if "target" in given and given.get("wait", 0) >= given["target"]:
        raise TypeError(
            f"{where}: batch_wait={given['wait']!r} leaves nothing of batch_target={given['target']!r}; wait less"
        )
    if not _is_count(given.get("concurrency", 1)):
        raise TypeError(f"{where}: batch_concurrency={given['concurrency']!r} is no number of batches; 1 or more")
    if not callable(given.get("weight", len)):
        raise TypeError(f"{where}: weight={given['weight']!r} is no function of an item")
    if not isinstance(given.get("split", False), bool):
        raise TypeError(f"{where}: batch_split={given['split']!r} is neither True nor False")
    return Batch(size=size, **given)  # type: ignore[arg-type]


def _argument(name: str) -> str:
    return name if name == "weight" else f"batch_{name}"


def _is_count(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given > 0


def _is_seconds(given: object, zero: bool) -> bool:
    is_number = isinstance(given, int | float) and not isinstance(given, bool) and isfinite(given)
    return is_number and (given > 0 or (zero and given == 0))  # type: ignore[operator]


def item_of(annotation: Any, where: str, name: str, required: bool) -> Any:
    """What one caller gives for the parameter `name`, which takes a batch. Raises TypeError."""
    item = _inside(annotation)
    if item is None:
        raise TypeError(
            f"{where}: with batch_size= the first parameter takes a batch: {name}: list[T], where T is what one caller gives"
        )
    if not required:
        raise TypeError(f"{where}: the batch {name!r} has a default; a caller gives his item, so leave it out")
    if any(_is_array(member) for member in _members(item)):
        raise TypeError(
            f"{where}: an item of the batch {name!r} may be a list itself, and nobody could tell one item from many; "
            "put it into a ComboDoc, or take a Tensor"
        )
    return item


def reply_item_of(annotation: Any, where: str) -> Any:
    """What one caller is given. A batch may hold exceptions in the place of replies. Raises TypeError."""
    if annotation is UNTOLD:
        return UNTOLD
    item = _inside(annotation)
    if item is None:
        raise TypeError(f"{where}: with batch_size= the replies are a list in the order of the items: -> list[R]")
    kept = [member for member in _members(item) if not (isinstance(member, type) and issubclass(member, BaseException))]
    if not kept:
        raise TypeError(f"{where}: a batch that gives exceptions only has no replies: -> list[R | Exception]")
    return item if len(kept) == len(_members(item)) else Union[tuple(kept)]  # noqa: UP007 - made of a list


def _inside(annotation: Any) -> Any:
    found = annotation
    while typing.get_origin(found) is Annotated:
        found = typing.get_args(found)[0]
    inside = typing.get_args(found)
    return inside[0] if typing.get_origin(found) is list and len(inside) == 1 else None


def _members(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _members(typing.get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [member for choice in typing.get_args(annotation) for member in _members(choice)]
    if isinstance(annotation, _ALIASES):
        return [Any] if annotation is JsonValue else _members(annotation.__value__)
    if isinstance(annotation, typing.NewType):
        return _members(annotation.__supertype__)
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        return _members(annotation.model_fields["root"].annotation)
    return [annotation]


def _is_array(member: Any) -> bool:
    origin = typing.get_origin(member) or member
    return (
        member is Any
        or origin is object
        or (
            isinstance(origin, type)
            and (issubclass(origin, _ARRAYS) or (issubclass(origin, Iterable) and isabstract(origin)))
            and not issubclass(origin, str | bytes | Mapping)
        )
    )
