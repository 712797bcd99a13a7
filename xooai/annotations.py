"""Types from a description: JSON Schema, as our servers write it, read back into annotations."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ForwardRef, Literal, NotRequired, Union

from msgspec.structs import replace
from pydantic import BaseModel
from typing_extensions import TypedDict

from xooai.described import kind_of, record
from xooai.doc import Doc, kinds
from xooai.driver import Shape
from xooai.endpoint import DICT, INTEGER_KEY, Endpoint, Parameter
from xooai.endpoint import arguments as arguments_of
from xooai.errors import Unimplemented
from xooai.lazy import lazy
from xooai.schema import Schema
from xooai.untyped import ANYTHING, untyped

if TYPE_CHECKING:
    from xooai import batching
    from xooai.batching import Batch
else:
    batching = lazy("xooai.batching")

__all__ = ["endpoint_from", "executors_from"]

_FORMATS: dict[str, Any] = {
    "date-time": datetime.datetime,
    "date": datetime.date,
    "time": datetime.time,
    "duration": datetime.timedelta,
    "uuid": uuid.UUID,
    "decimal": decimal.Decimal,
    "binary": bytes,
    "base64url": bytes,
}
_PLAIN: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
_SAYS_SOMETHING = frozenset("type $ref anyOf oneOf allOf not const enum properties items prefixItems".split())
_DEPTH = 64  # a description comes from a peer: as deep as a frame may be
_NODES = 100_000  # schemas that are read of one description: more than a hundred large models have


class _Reader:
    """Reads the schemas of one description; a named one becomes one class. What it does not understand is untyped."""

    def __init__(self, shared: object) -> None:
        self._shared = _mapping(shared)
        self._made: dict[str, Any] = {}
        self._open: dict[
            str, str
        ] = {}  # named schemas that are being read → the name by which they refer to themselves
        self._models: list[type[BaseModel]] = []
        self._left = _NODES

    def read(self, schema: object, depth: int = 0) -> Any:
        """The annotation that a schema stands for; Any where it says nothing."""
        self._left -= 1
        if schema is None or schema is True:
            return Any
        if not isinstance(schema, dict) or depth > _DEPTH or self._left < 0:
            return ANYTHING
        if isinstance(schema.get("$ref"), str):
            return self._named(schema["$ref"].rpartition("/")[2], depth)
        choices = schema.get("anyOf") or schema.get("oneOf")
        if isinstance(choices, list) and "properties" not in schema:
            return self._union(choices, depth)
        if "const" in schema or "enum" in schema:
            return _literal([schema["const"]] if "const" in schema else schema["enum"])
        if schema.get("type") == "array":
            return self._array(schema, depth)
        if schema.get("type") == "object":
            return self._object(schema, depth)
        return _scalar(schema)

    def _named(self, name: str, depth: int) -> Any:
        if name in self._made:
            return self._made[name]
        if name in self._open:
            self._open[name] = f"Described{len(self._made)}_{len(self._open)}"
            return ForwardRef(self._open[name])
        self._open[name] = ""
        before = len(self._models)
        found = self.read(self._shared.get(name, 0), depth + 1)
        itself = self._open.pop(name)
        if itself:
            found = self._closed(found, itself, self._models[before:])
        self._made[name] = found
        return found

    def _closed(self, found: Any, name: str, models: list[type[BaseModel]]) -> Any:
        """A type that refers to itself by `name`, and the models in it, now that it is known."""
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            return ANYTHING
        try:
            for model in models:
                model.model_rebuild(force=True, raise_errors=False, _types_namespace={name: found})
        except Exception:  # noqa: BLE001 - pydantic's verdict on types that a peer made up
            return ANYTHING
        return found

    def _union(self, choices: list[Any], depth: int) -> Any:
        found = [self.read(choice, depth + 1) for choice in choices]
        if ANYTHING in found:
            return ANYTHING
        if decimal.Decimal in found:  # it is taken as a number, too
            found = [one for one in found if one is not float]
        return Any if Any in found else Union[tuple(found)]  # noqa: UP007 - made of a list

    def _array(self, schema: Mapping[str, Any], depth: int) -> Any:
        fixed = schema.get("prefixItems")
        if isinstance(fixed, list) and schema.get("maxItems") == len(fixed):
            return tuple[tuple(self.read(item, depth + 1) for item in fixed)]  # type: ignore[misc]
        item = self.read(schema.get("items"), depth + 1)
        return set[item] if schema.get("uniqueItems") is True else list[item]  # type: ignore[valid-type]

    def _object(self, schema: Mapping[str, Any], depth: int) -> Any:
        properties = schema.get("properties")
        if not isinstance(properties, dict) or not properties:
            patterns = list(_mapping(schema.get("patternProperties")).values())
            values = patterns[0] if len(patterns) == 1 else schema.get("additionalProperties")
            return dict[_key(schema.get("propertyNames")), self.read(values, depth + 1)]  # type: ignore[misc]
        kind = _document(properties)
        if kind is not None and (kind is Doc or properties.keys() <= kind.model_fields.keys()):
            return kind
        return self._model(schema, properties, depth, kind)

    def _model(
        self, schema: Mapping[str, Any], properties: Mapping[str, Any], depth: int, kind: type[Doc] | None = None
    ) -> Any:
        needed = _listed(schema.get("required"))
        if schema.get(DICT) is True:
            read = {name: self.read(inner, depth + 1) for name, inner in properties.items()}
            kept: dict[str, Any] = {name: one if name in needed else NotRequired[one] for name, one in read.items()}
            return TypedDict("Results", kept)  # type: ignore[operator]
        fields = {
            name: (self.read(inner, depth + 1), ... if name in needed else _mapping(inner).get("default"))
            for name, inner in properties.items()
            if kind is None or name not in kind.model_fields
        }
        extra: Any = "ignore" if schema.get("additionalProperties", False) is False else "allow"
        title = schema.get("title")
        try:
            model = record(title, fields, extra) if kind is None else kind_of(kind, title, fields)
        except Exception:  # noqa: BLE001 - pydantic's verdict on types that a peer made up
            return ANYTHING
        self._models.append(model)
        return model


def _mapping(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, dict) else {}


def _listed(given: object) -> list[Any]:
    return given if isinstance(given, list) else []


def _literal(values: object) -> Any:
    known = (
        isinstance(values, list) and values and all(value is None or isinstance(value, str | int) for value in values)
    )
    return Literal[tuple(values)] if known else ANYTHING  # type: ignore[arg-type]


def _scalar(schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type")
    if not isinstance(kind, str):
        return ANYTHING if _SAYS_SOMETHING & schema.keys() else Any
    if kind == "string" and schema.get("contentEncoding") == "base64":
        return bytes
    if kind == "string" and isinstance(schema.get("format"), str):
        return _FORMATS.get(schema["format"], str)
    return _PLAIN.get(kind, ANYTHING)


def _key(schema: object) -> Any:
    """What the names of an object stand for."""
    found = _mapping(schema)
    if found.get("pattern") == INTEGER_KEY:
        return int
    known = _FORMATS.get(str(found.get("format")), str)
    return str if known is bytes else known


def _document(properties: Mapping[str, Any]) -> type[Doc] | None:
    """The kind of document that an object with these properties is."""
    kind = _mapping(properties.get("kind"))
    name = kind.get("const")
    if name is None and "enum" in kind and len(properties) == 1:
        return Doc  # any kind
    return kinds().get(name) if isinstance(name, str) and "ref" in properties else None


class _Endpoints(Mapping[str, Endpoint]):
    """The endpoints of one executor, each read when it is first asked for."""

    def __init__(self, executor: str, described: Mapping[str, Any], reader: _Reader) -> None:
        self._executor = executor
        self._described = described
        self._reader = reader
        self._read: dict[str, Endpoint] = {}

    def __getitem__(self, name: str) -> Endpoint:
        found = self._read.get(name)
        if found is None:
            found = self._read[name] = _endpoint(self._executor, name, self._described[name], self._reader)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._described

    def __iter__(self) -> Iterator[str]:
        return iter(self._described)

    def __len__(self) -> int:
        return len(self._described)


def executors_from(description: object, server: str) -> dict[str, Mapping[str, Endpoint]]:
    """The executors that a server describes, with their endpoints. Raises Unimplemented for what is no description."""
    executors = _mapping(description).get("executors")
    if not isinstance(executors, dict) or not all(isinstance(endpoints, dict) for endpoints in executors.values()):
        raise Unimplemented(f"what {server} says of itself is no description that this version of xooai reads")
    reader = _Reader(_mapping(description).get("$defs"))
    return {name: _Endpoints(name, endpoints, reader) for name, endpoints in executors.items()}


def endpoint_from(executor: str, name: str, described: object, shared: object) -> Endpoint:
    """An endpoint from its description. What cannot be understood is untyped, never an error."""
    return _endpoint(executor, name, described, _Reader(shared))


def _endpoint(executor: str, name: str, described: object, reader: _Reader) -> Endpoint:
    found = _mapping(described)
    parameters = _parameters(_mapping(found.get("body")), reader)
    where = f"{executor}.{name}"
    try:
        arguments = Schema(arguments_of(where, parameters), where)
    except Exception:  # noqa: BLE001 - pydantic's verdict on types that a peer made up
        parameters = {key: replace(parameter, annotation=ANYTHING) for key, parameter in parameters.items()}
        arguments = Schema(arguments_of(where, parameters), where)
    shape = _shape(found.get("shape"))
    incoming = str(found.get("stream", "stream")) if shape & Shape.CLIENT else ""
    return Endpoint(
        name=name,
        owner=executor,
        parameters=parameters,
        arguments=arguments,
        result=_result(found.get("reply"), where, reader),
        shape=shape,
        is_async=True,
        summary=str(found.get("summary", "")),
        order=(*parameters, incoming) if incoming else tuple(parameters),
        incoming=incoming,
        items=_result(found.get("item"), f"{where}({incoming})", reader) if incoming else None,
        batch=_batch(found, parameters, shape),
        idempotent=found.get("idempotent") is True,
    )


def _batch(found: Mapping[str, Any], parameters: Mapping[str, Parameter], shape: Shape) -> Batch | None:
    """Batches, where an endpoint takes lists of items for a parameter too; of one item where their size is not told."""
    name, size = found.get("batch"), found.get("batch_size")
    if name not in parameters or shape is not Shape.UNARY:
        return None
    return batching.Batch(str(name), size if type(size) is int and size > 0 else 1)


def _shape(name: object) -> Shape:
    return Shape[name] if isinstance(name, str) and name in Shape.__members__ else Shape.UNARY


def _parameters(body: Mapping[str, Any], reader: _Reader) -> dict[str, Parameter]:
    needed = _listed(body.get("required"))
    return {
        name: Parameter(name, reader.read(schema), name in needed, _mapping(schema).get("default"))
        for name, schema in _mapping(body.get("properties")).items()
    }


def _result(reply: object, where: str, reader: _Reader) -> Schema:
    try:
        return untyped() if reply is None else Schema(reader.read(reply), where)
    except Exception:  # noqa: BLE001 - pydantic's verdict on types that a peer made up
        return untyped()
