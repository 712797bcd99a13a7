"""One place in what a server has answered: found among the bytes and read by itself; all beside it stays as it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from pydantic import BaseModel
from typing_extensions import is_typeddict

from xooai.codec import JSON, Codec
from xooai.conditions import MISSING, inside, model_fields, place_in
from xooai.doc import Doc
from xooai.fitting import members
from xooai.flow.unread import Reply, look, split
from xooai.schema import Schema
from xooai.untyped import ANYTHING, untyped

__all__ = ["at"]

_KEPT = 256  # compiled types of places, of all Flows together: as many as the conditions of a few large ones look at


class _Piece(msgspec.Struct, frozen=True):
    """What stands in one place: its bytes, or that there are none and what stands for them; and what type it is to be."""

    annotation: Any
    frame: bytes | None
    default: Any = MISSING


def at(value: Any, steps: Sequence[str]) -> Any:
    """What is below these names, MISSING where there is nothing; of an unread reply no more is read than that.

    It is of the type that was promised for this place. Raises XooaiError where it is not.
    """
    if type(value) is not Reply or value.is_read:
        return inside(look(value), steps)
    piece = _Piece(value.schema.annotation, value.frame)
    for done, step in enumerate(steps):
        assert piece.frame is not None
        next_one = _below(piece.annotation, value.codec, piece.frame, step)
        if next_one is None:  # a document, or written as few do it: read from here on
            break
        if next_one.frame is None:
            return inside(next_one.default, steps[done + 1 :])
        piece = next_one
    else:
        done = len(steps)
    if not done:
        return inside(value.value(), steps)
    assert piece.frame is not None
    found = value.part(_schema(piece.annotation), piece.frame, steps[:done])
    return inside(found, steps[done:])


@lru_cache(maxsize=_KEPT)
def _schema(annotation: Any) -> Schema:
    return untyped() if annotation is ANYTHING else Schema(annotation, "a place in a reply")


def _below(annotation: Any, codec: Codec, frame: bytes, step: str) -> _Piece | None:
    """What is below one name; None where only who reads the whole of this can say so."""
    kinds = [annotation] if annotation is ANYTHING else [kind for kind in members(annotation) if kind is not NoneType]
    if len(kinds) != 1:
        return None
    kind = kinds[0]
    if kind in (Any, ANYTHING):
        return _of_list(kind, codec, frame, step) or _of_anything(kind, codec, frame, step)
    if get_origin(kind) is list:
        return _of_list(get_args(kind)[0], codec, frame, step)
    is_model = isinstance(kind, type) and issubclass(kind, BaseModel)
    # A class of the user's own may say otherwise what its fields are; those made of a description say nothing else.
    if is_model and (issubclass(kind, Doc) or not hasattr(kind, "__xooai_described__")):
        return None
    parts = split(codec, frame)
    if parts is None:
        return None
    if is_model:
        return _of_model(kind, parts, step)
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        return _of_parts(parts, step, hints[step], step in kind.__required_keys__) if step in hints else None
    if get_origin(kind) is dict and get_args(kind)[0] is str:
        return _of_parts(parts, step, get_args(kind)[1])
    return None


def _of_parts(parts: Mapping[str, Any], step: str, annotation: Any, is_required: bool = False) -> _Piece | None:
    if step in parts:
        return _Piece(annotation, bytes(parts[step]))
    return None if is_required else _Piece(annotation, None)


def _of_anything(kind: Any, codec: Codec, frame: bytes, step: str) -> _Piece | None:
    parts = split(codec, frame)
    if parts is None or "kind" in parts:  # it may be a document
        return None
    return _of_parts(parts, step, kind)


def _of_model(kind: type[BaseModel], parts: Mapping[str, Any], step: str) -> _Piece | None:
    name = model_fields(kind).get(step)
    if name is None:
        return _of_parts(parts, step, Any) if kind.model_config.get("extra") == "allow" else None
    field = kind.model_fields[name]
    alias = field.alias or name
    if alias in parts:
        return _Piece(field.annotation, bytes(parts[alias]))
    if name in parts or field.is_required() or field.default_factory is not None:
        return None
    return _Piece(field.annotation, None, field.default)


def _of_list(item: Any, codec: Codec, frame: bytes, step: str) -> _Piece | None:
    place = place_in(step)
    if place is None:
        return None
    try:
        items = (_JSON if codec is JSON else _MSGPACK).decode(frame)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return _Piece(item, bytes(items[place])) if place < len(items) else _Piece(item, None)


_JSON = msgspec.json.Decoder(list[msgspec.Raw])
_MSGPACK = msgspec.msgpack.Decoder(list[msgspec.Raw])
