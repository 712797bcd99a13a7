"""Documents: the typed values that endpoints take and give, whose content is inline or elsewhere (`ref`).

Annotations are no texts here: pydantic would evaluate those of the fields anew for each kind, which took half of making one.
"""

import inspect
import re
import threading
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, to_json
from pydantic_core import core_schema as cs

from xooai.lazy import lazy
from xooai.media.first_bytes import sniff
from xooai.origin import STRANGER, Origin
from xooai.readable import Readable, origin_of
from xooai.redact import redact

if TYPE_CHECKING:
    from xooai import ref as refs
else:
    refs = lazy("xooai.ref")


__all__ = [
    "Absent",
    "Doc",
    "absent",
    "arriving",
    "as_base64",
    "is_wire",
    "kind_in",
    "kind_named",
    "kinds",
    "mark_wire",
    "origin_of",
]

_KINDS: "dict[str, type[Doc]]" = {}
_OWN = {name: f"xooai.docs.{name}" for name in ("audio", "file", "image", "tensor", "text", "video")}
"""The kinds that come with xooai, and where: each is loaded when it is asked for."""
_SIGNATURE = "^[a-z0-9]+:[0-9a-f]{64}$"
_PREVIEW = 60  # characters of a text that its repr shows; a payload is never printed


class _Arriving(threading.local):
    """Whose documents are made right now by this thread, where they come from a peer's frame (decoding is synchronous)."""

    now: Origin | None = None


arriving = _Arriving()


def absent(value: object) -> bool:
    """Whether a field is left out of the wire form."""
    return value is None


def as_base64(value: Any) -> Any:
    """Bytes as JSON holds them: pydantic's own base64 is the URL-safe alphabet, which `base64 -d`, jq and atob do not read."""
    return b64encode(value).decode("ascii") if isinstance(value, bytes | bytearray) else value


Absent = Field(default=None, exclude_if=absent)
"""A field that stands in the wire form only when it is known."""


class Doc(Readable, BaseModel, ABC):
    """One document: `value` is its content, `ref` says where the content is or came from; at least one is given.

    A document is a value: it does not change once made. Looking at an attribute fetches nothing; `read`, `aread`, `open`
    and `path` do. A document that came from a peer is read from its inline content, or from a store that this side has: any
    other `ref` may be passed on, and is never opened here.

    A subclass is a kind of its own, named after the class in snake_case or by `class Mesh(Doc, kind="mesh")`; a subclass
    of a kind shares it. It declares `value` and implements `encode` and `decode`.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings"
    )

    _kind: ClassVar[str] = ""
    _own_fields: ClassVar[tuple[str, ...]] = ()
    """Those that a kind has beside every document's: documents may stand in them."""
    _contents: ClassVar[tuple[type, ...]] = (bytes, str)
    """What a `value` may be that is kept as it was given; all else goes through `encode`."""

    kind: str = ""
    ref: str | None = Absent
    value: Any = None
    media_type: str | None = Absent
    signature: Annotated[str | None, Field(pattern=_SIGNATURE)] = Absent
    size: Annotated[int | None, Field(ge=0, le=2**63 - 1)] = Absent

    def __init__(self, **fields: Any) -> None:
        """Make a document of what the caller has: `value` may be anything that `encode` takes."""
        value = fields.get("value")
        if value is not None and type(value) not in self._contents:
            try:
                fields["value"] = type(self).encode(value)
            except (TypeError, ValueError) as error:
                mistake = PydanticCustomError("content", "{reason}", {"reason": str(error)})
                raise ValidationError.from_exception_data(
                    type(self).__name__, [{"type": mistake, "loc": ("value",), "input": value}]
                ) from error
        self.__pydantic_validator__.validate_python(fields, self_instance=self)

    # Tells pydantic that validation may make instances without this __init__, as it does for BaseModel's own.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    @abstractmethod
    def encode(cls, value: Any) -> Any:
        """Return the content to keep inline (`str` or `bytes`) for what was given as `value`.

        What is not known to this kind is returned as it is, for validation to refuse. Raises TypeError or ValueError for
        what is known and does not fit.
        """

    @classmethod
    @abstractmethod
    def decode(cls, data: bytes) -> Any:
        """Return what `read` gives for the bytes that a ref leads to."""

    def __init_subclass__(cls, kind: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if kind is None and cls.__name__.startswith("_"):
            return  # a base for kinds, none itself
        inherited = str(cls.__dict__.get("kind", "") or getattr(cls, "_kind", ""))
        name = kind or inherited or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        cls._kind = name
        if name != inherited:
            known = None if cls.__module__ == _OWN.get(name) else _kind(name)
            if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise TypeError(
                    f"the kind {name!r} is taken by {known.__module__}.{known.__qualname__}; "
                    f"name another: class {cls.__name__}(Doc, kind=...)"
                )
            _KINDS[name] = cls
            # Written here, since pydantic collects fields after this hook has run.
            cls.__annotations__ = {**inspect.get_annotations(cls), "kind": Literal[name]}
            cls.kind = name

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        cls._own_fields = tuple(name for name in cls.model_fields if name not in Doc.model_fields)

    @model_validator(mode="after")
    def _settle(self) -> Self:
        fields = self.__dict__
        value, ref = fields["value"], fields["ref"]
        if value is None and ref is None:
            raise PydanticCustomError("missing_content", "a document needs a ref or a value")
        if value is not None and (fields["size"] is not None or fields["signature"] is not None):
            self._verify(value.encode() if isinstance(value, str) else value)
        if fields["media_type"] is None or (ref is not None and "media_type" not in self.__pydantic_fields_set__):
            fields["media_type"] = self._guess(ref, value) or fields["media_type"]
        if arriving.now is not None:
            fields["_wire"] = arriving.now
        return self

    @classmethod
    def _guess(cls, ref: str | None, value: Any) -> str | None:
        """The media type: from the extension of the ref, then from the first bytes."""
        found = refs.media_type_of(ref) if ref is not None else None
        if found is None and type(value) is bytes:
            found = sniff(value)
        return found

    # What a document is, as Python sees it

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _public(self) == _public(other)

    def __hash__(self) -> int:
        return hash((type(self), self.__dict__["ref"], self.__dict__["value"]))

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        kept = {name: value for name, value in state["__dict__"].items() if name not in ("_kept", "_path")}
        if "_wire" in kept:  # an origin belongs to this process; the mark stays
            kept["_wire"] = STRANGER
        return {**state, "__dict__": kept}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; what was read or written for this document is not the content of a changed one."""
        copied = super().model_copy(update=update, deep=deep)
        if update:
            for name in ("_kept", "_path"):
                copied.__dict__.pop(name, None)
        return copied

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in _public(self).items():
            if value is None or name == "kind":
                continue
            if name == "ref":
                yield name, redact(value)
            elif name == "value":
                yield name, _Shown(value)
            elif value != type(self).model_fields[name].default:
                yield name, _Shown(value) if isinstance(value, bytes) else value

    def __str__(self) -> str:
        return repr(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if cls._kind:
            return handler(source)
        # A field typed Doc: any registered kind, looked up when it is read, so that kinds may be added later.
        return cs.with_info_plain_validator_function(cls._validate_any)

    @classmethod
    def _validate_any(cls, value: Any, info: cs.ValidationInfo) -> "Doc":
        if isinstance(value, cls):
            return value
        found = kind_in(value, cls)
        if info.mode != "json":
            return found.model_validate(value)
        # Only in JSON are bytes base64; the frame is parsed already, so it is written once more.
        return found.model_validate_json(to_json(value, inf_nan_mode="constants"), strict=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        if schema["type"] == "function-plain":
            known = sorted(name for name, kind in kinds().items() if issubclass(kind, cls))
            return {"type": "object", "properties": {"kind": {"enum": known}}, "required": ["kind"]}
        found = handler.resolve_ref_schema(handler(schema))
        found["anyOf"] = [{"required": ["ref"]}, {"required": ["value"]}]
        for name in ("ref", "value", "media_type", "signature", "size"):
            _drop_null(found["properties"].get(name, {}))
        return found


def _drop_null(schema: JsonSchemaValue) -> None:
    """Describe an optional field by what it is when it is there: the wire form leaves out what is not known."""
    members = [member for member in schema.get("anyOf", ()) if member != {"type": "null"}]
    if len(members) == 1:
        del schema["anyOf"]
        schema.update(members[0])
    if schema.get("default", 0) is None:
        del schema["default"]


class _Shown:
    """An inline value as its repr shows it: never the payload."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        if isinstance(self.value, str):
            short = len(self.value) <= _PREVIEW
            return repr(self.value) if short else f"{self.value[:_PREVIEW]!r}… {len(self.value):,} characters"
        return f"<{len(self.value):,} bytes>"


def _public(doc: Doc) -> dict[str, Any]:
    return {name: value for name, value in doc.__dict__.items() if not name.startswith("_")}


def is_wire(doc: Doc) -> bool:
    """Whether a document came from a peer, so that its ref is never opened by the rules of this process."""
    return "_wire" in doc.__dict__


def mark_wire(doc: Doc, origin: Origin = STRANGER) -> None:
    """Mark a document as coming from a peer. There is no way back."""
    doc.__dict__["_wire"] = origin


def kind_in(value: Any, base: type[Doc]) -> type[Doc]:
    """The kind of document that a field of type `base` reads this value as. Raises PydanticCustomError."""
    kind = value.get("kind") if isinstance(value, dict) else None
    found = kind_named(kind)
    if found is None or not issubclass(found, base):
        known = ", ".join(sorted(name for name, kind in kinds().items() if issubclass(kind, base)))
        raise PydanticCustomError("unknown_kind", "a document needs a kind; known are: {known}", {"known": known})
    return found


def kinds() -> dict[str, type[Doc]]:
    """The registered kinds of documents; a class that lacks `encode` or `decode` is none."""
    for name in _OWN:
        _kind(name)
    return {name: kind for name, kind in _KINDS.items() if not inspect.isabstract(kind)}


def _kind(name: str) -> type[Doc] | None:
    if name not in _KINDS and name in _OWN:
        import_module(_OWN[name])
    return _KINDS.get(name)


def kind_named(name: object) -> type[Doc] | None:
    """The kind with this name, if there is one."""
    found = _kind(name) if isinstance(name, str) else None
    return None if found is None or inspect.isabstract(found) else found
