"""What tells calls apart: a digest of who calls what with which arguments, whatever codec they came in."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from itertools import count
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
from pydantic import BaseModel, SecretBytes, SecretStr

from xooai.doc import Doc, origin_of
from xooai.errors import InvalidArgument
from xooai.signature import sign
from xooai.store_ref import StoreRef, is_store_ref

__all__ = ["Key", "Unkeyed"]

SHORT = 4096  # bytes of a content up to which it is hashed with all the rest: alone it costs more

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})  # msgpack writes different ones differently
# Their repr says all that they are.
_BY_REPR = frozenset(
    {complex, date, datetime, time, timedelta, Decimal, Fraction, UUID, type(Path()), type(PurePath()), range}
    | {IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network}
)
_pack = msgspec.msgpack.Encoder().encode
_numbers: WeakKeyDictionary[type, int] = WeakKeyDictionary()
_next = count()


class Unkeyed(Exception):
    """There is no telling these arguments from others. `why` is for the log, None where it is no mistake."""

    def __init__(self, why: str | None = None) -> None:
        super().__init__(why)
        self.why = why


class Key:
    """Made of the arguments of one call; `is_here` says that it came from within this process.

    Every value that is not plain is written as an array that begins with what it is, and plain ones as they are, so that
    different arguments are different bytes. What is of no known type makes no key: a serializer might hide a difference.
    """

    def __init__(self, path: str, identity: str, arguments: Mapping[str, Any], *, is_here: bool) -> None:
        self.refs: list[StoreRef] = []
        """The contents that the key has by their names alone: whether the caller may read them is to be asked."""
        self._is_here = is_here
        try:
            written = [[name, self._token(arguments[name])] for name in sorted(arguments)]
            packed = _pack([path, identity, is_here, written])
        except (OverflowError, UnicodeEncodeError, RecursionError) as error:
            raise Unkeyed(str(error)) from None
        self.digest = hashlib.sha256(packed).digest()

    def _token(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        write = _KINDS.get(kind)
        if write is not None:
            return write(self, value)
        if kind in _BY_REPR:
            return ["repr", kind.__name__, repr(value)]
        if isinstance(value, Doc):
            return self._document(value)
        if isinstance(value, BaseModel):
            return self._model(value)
        if isinstance(value, Enum):
            return ["enum", _class(kind), self._token(value.value)]
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return ["named", _class(kind), self._items(value)]
        if isinstance(value, SecretStr | SecretBytes):
            return ["secret", _class(kind), value.get_secret_value()]
        if is_dataclass(value):
            return ["class", _class(kind), [self._token(getattr(value, field.name)) for field in fields(value)]]
        raise Unkeyed(f"a {kind.__module__}.{kind.__qualname__} among the arguments is not told from another one")

    def _items(self, items: Any) -> list[Any]:
        found = list(items)
        return found if _PLAIN.issuperset(map(type, found)) else [self._token(item) for item in found]

    def _mapping(self, value: Mapping[Any, Any]) -> list[Any]:
        return ["dict", self._items(value.keys()), self._items(value.values())]

    def _set(self, value: Any) -> list[Any]:
        return [type(value).__name__, sorted(_pack(item) for item in self._items(value))]

    def _model(self, model: BaseModel) -> list[Any]:
        extra, private = model.__pydantic_extra__, model.__pydantic_private__
        return [
            "model",
            _class(type(model)),
            self._mapping(model.__dict__),
            sorted(model.__pydantic_fields_set__),
            None if extra is None else self._mapping(extra),
            None if private is None else self._mapping(private),
        ]

    def _document(self, doc: Doc) -> list[Any]:
        found = doc.__dict__
        own = [self._token(found.get(name)) for name in type(doc)._own_fields]
        said = [found["media_type"], found["signature"] is not None, found["size"]]
        content = self._told(doc) if found["value"] is None else self._inline(doc, found["value"])
        return ["doc", _class(type(doc)), *said, own, *content]

    def _inline(self, doc: Doc, value: Any) -> list[Any]:
        """A content that is here: by its signature, which was checked when the document was made, else is made now."""
        ref, is_marked = doc.ref, self._is_here and origin_of(doc) is not None
        if is_marked and ref is not None:
            raise Unkeyed  # what may be read by the ref depends on whom it came from
        if is_store_ref(ref):
            ref = _without_grant(str(ref))
        data = value.encode() if isinstance(value, str) else value
        content = data if len(data) <= SHORT else ["signature", doc.signature or sign(data)]
        return ["value", type(value).__name__, content, ref, is_marked]

    def _told(self, doc: Doc) -> list[Any]:
        """A content that is elsewhere: only a store says by its name what it is."""
        if self._is_here or not is_store_ref(doc.ref):
            raise Unkeyed
        try:
            ref = StoreRef.of(str(doc.ref))
        except InvalidArgument:
            raise Unkeyed from None
        if doc.signature not in (None, ref.signature):
            raise Unkeyed
        self.refs.append(ref)
        return ["store", ref.name, ref.signature]


_KINDS: dict[type, Callable[[Key, Any], list[Any]]] = {
    list: lambda key, value: ["list", key._items(value)],
    tuple: lambda key, value: ["tuple", key._items(value)],
    deque: lambda key, value: ["deque", value.maxlen, key._items(value)],
    dict: Key._mapping,
    set: Key._set,
    frozenset: Key._set,
    bytearray: lambda key, value: ["bytearray", bytes(value)],
}


def _class(kind: type) -> list[Any]:
    """A class by its name, and a number of its own: two may be called alike."""
    number = _numbers.get(kind)
    if number is None:
        number = _numbers.setdefault(kind, next(_next))
    return [f"{kind.__module__}.{kind.__qualname__}", number]


def _without_grant(ref: str) -> str:
    """The same ref whenever it was given: a grant is another one every time."""
    return ref.partition("?g=")[0]
