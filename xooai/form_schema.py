"""Forms in an OpenAPI document: which endpoints take one, and how each parameter stands in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xooai import base64_text
from xooai.codec import JSON
from xooai.doc import Doc
from xooai.docs import Audio, File, Image, Text, Video
from xooai.endpoint import Endpoint, Parameter

__all__ = ["MEDIA", "alone", "form"]

Json = Any
_Field = tuple[Json, str]  # its schema, and its content type where that is not plain text

_BINARY = "application/octet-stream"
MEDIA: Mapping[type[Doc], tuple[str, ...]] = {
    Image: ("image/*", _BINARY),
    Audio: ("audio/*", _BINARY),
    Video: ("video/*", _BINARY),
    Text: ("text/plain",),
    File: (_BINARY,),
}
"""The media types as which one document may be sent and given back, by its kind."""

_FILES: Mapping[type[Doc], str] = {Image: "image/*", Audio: "audio/*", Video: "video/*", File: "*/*"}
# Beside it no `encoding`, and for any file not application/octet-stream: with these schemathesis 4 sends numbers where it
# means to send none, and finds that they are taken for the bytes of a file.
_WORDS = ("true", "false", "1", "0", "on", "off", "yes", "no")  # for booleans, as browsers and people write them


def alone(parameter: Parameter) -> list[str]:
    """The media types as which the bytes of a parameter may be sent without a form; a union tells its members by them."""
    kinds = [known for kind in parameter.documents for known in MEDIA if issubclass(kind, known)]
    told = dict.fromkeys(media_type for kind in kinds for media_type in MEDIA[kind])
    if len(parameter.documents) > 1 and File not in kinds:  # bytes of no known type are none of them
        told.pop(_BINARY, None)
    return [*told]


def _kind_of(parameter: Parameter) -> type[Doc] | None:
    """The kind of document that a parameter takes, as far as bytes alone make one: a Tensor needs more."""
    kind = parameter.document
    return next((known for known in MEDIA if kind is not None and issubclass(kind, known)), None)


def form(endpoint: Endpoint, body: Json, definitions: Mapping[str, Json]) -> Json | None:
    """The media type object of the endpoint's form; None where it has no file to send, or needs what a form cannot carry."""
    properties = {
        name: _field(endpoint.parameters[name], schema, definitions) for name, schema in body["properties"].items()
    }
    fields = {name: found for name, found in properties.items() if found is not None}
    if not fields.keys() >= set(body.get("required", ())) or not any(_is_file(schema) for schema, _ in fields.values()):
        return None
    encoding = {name: {"contentType": content_type} for name, (_, content_type) in fields.items() if content_type}
    schema = {**body, "properties": {name: schema for name, (schema, _) in fields.items()}}
    return {"schema": schema, "encoding": encoding} if encoding else {"schema": schema}


def _is_file(schema: Json) -> bool:
    return "contentMediaType" in schema or any(map(_is_file, schema.get("anyOf", ())))


def _field(parameter: Parameter, schema: Json, definitions: Mapping[str, Json]) -> _Field | None:
    """A parameter as a part, or several; None where there is no plain way."""
    kind = _kind_of(parameter)
    if kind is not None:
        return _content(kind), ""
    item = None if parameter.item is None else _kind_of(parameter.item)
    if item is not None:
        inner = _content(item)
        items = (
            inner if item is Text else {**inner, "format": "binary"}
        )  # OpenAPI 3.0's word, without which Swagger UI asks for texts
        return {"anyOf": [{"type": "array", "items": items, "minItems": 1}, inner]}, ""  # several parts, or one
    return _plain(schema, definitions)


def _content(kind: type[Doc]) -> Json:
    return {"type": "string"} if kind is Text else {"type": "string", "contentMediaType": _FILES[kind]}


def _plain(schema: Json, definitions: Mapping[str, Json]) -> _Field | None:
    if "$ref" in schema:
        return _plain({**definitions[schema["$ref"].rpartition("/")[2]], **_bare(schema)}, definitions)
    members = [member for member in schema.get("anyOf", ()) if member != {"type": "null"}]
    if members:
        return _any_of(schema, members, definitions)
    if "enum" in schema or "const" in schema:
        texts = [choice for choice in schema.get("enum", [schema.get("const")]) if isinstance(choice, str)]
        return ({**_bare(schema), "type": "string", "enum": texts}, "") if texts else None
    kind = schema.get("type")
    if kind == "object":
        return schema, JSON.media_type
    if kind == "boolean":
        default = {"default": str(schema["default"]).lower()} if "default" in schema else {}
        return {**default, "type": "string", "enum": [*_WORDS]}, ""
    if schema.get("contentEncoding"):
        return (_content(File), "") if schema.get("pattern") == base64_text.pattern() else None
    return None if kind in (None, "array", "null") else (schema, "")


def _any_of(schema: Json, members: list[Json], definitions: Mapping[str, Json]) -> _Field | None:
    fields = [_plain(member, definitions) for member in members]
    if len(fields) == 1 and fields[0] is not None:
        inner, content_type = fields[0]
        return {**_bare(schema), **inner}, content_type
    if "type" in schema or all(field is not None and not field[1] for field in fields):
        return {**schema, "anyOf": members}, ""
    return None


def _bare(schema: Json) -> Json:
    """What a schema says beside of the type: a default that a form can hold."""
    return {
        name: rule
        for name, rule in schema.items()
        if name in ("default", "description", "examples") and rule is not None
    }
