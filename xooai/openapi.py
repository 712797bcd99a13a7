"""The OpenAPI 3.1 document of executors (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from xooai.codec import JSON, MSGPACK
from xooai.driver import Shape
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument
from xooai.form_schema import MEDIA, alone, form
from xooai.json_schema import Schemas, described
from xooai.open_problems import problem_responses, problem_schema, references
from xooai.open_schema import Open, as_taken
from xooai.open_stream import streamed_reply, streamed_request
from xooai.sample import NoSample, sample

__all__ = ["openapi"]

Json = Any


def openapi(endpoints: Mapping[str, Mapping[str, Endpoint]]) -> Json:
    """The document of endpoints by name, by the executor's name."""
    paths = {f"/{executor}/{name}": one for executor, ones in endpoints.items() for name, one in ones.items()}
    schemas = described(paths, "#/components/schemas/{model}", Open)
    ids = _ids(endpoints)
    own = "Problem"
    while own in schemas.definitions:  # a class of the user's
        own += "_"
    return {
        "openapi": "3.1.0",
        "info": {"title": ", ".join(endpoints) or "xooai", "version": _version()},
        "servers": [{"url": ".", "description": "this server"}],  # beside this document, wherever it is mounted
        "tags": [{"name": executor} for executor in endpoints],
        "paths": {
            path: {"post": {"operationId": ids[path], "tags": [path.split("/")[1]], **_operation(path, one, schemas)}}
            for path, one in paths.items()
        },
        "components": {
            "schemas": {
                **{name: as_taken(schema) for name, schema in schemas.definitions.items()},
                own: problem_schema(),
            },
            "responses": problem_responses(f"#/components/schemas/{own}"),
        },
    }


def _ids(endpoints: Mapping[str, Mapping[str, Endpoint]]) -> dict[str, str]:
    """Names of operations by path, no two alike."""
    found: dict[str, str] = {}
    for executor, ones in endpoints.items():
        for name in ones:
            own = f"{executor}_{name}"
            while own in found.values():  # a_b/c and a/b_c
                own += "_"
            found[f"/{executor}/{name}"] = own
    return found


def _version() -> str:
    try:
        return version("xooai")
    except PackageNotFoundError:  # a checkout on the path, not installed
        return "0"


def _operation(path: str, one: Endpoint, schemas: Schemas) -> Json:
    summary, _, description = one.summary.partition("\n")
    body, reply, definitions = schemas.bodies[path], schemas.replies[path], schemas.definitions
    if one.shape & Shape.CLIENT:
        request = streamed_request(one, body, schemas.items[path], definitions)
    elif one.shape & Shape.SERVER:
        request = {"required": True, "content": _plain(one, body, definitions)}
    else:
        request = _request(one, body, definitions)
    if one.shape & Shape.SERVER:
        given = streamed_reply(reply)
    else:
        given = {"description": "The reply.", "content": _reply(one, reply, definitions)}
    return {
        **({"summary": summary} if summary else {}),
        **({"description": description.strip()} if description.strip() else {}),
        "requestBody": request,
        "responses": {"200": given, **references()},
    }


def _one_or_many(body: Json, name: str) -> Json:
    """The body of an endpoint that takes batches: a caller may give one item, or a list of them."""
    return {**body, "properties": {**body["properties"], name: _or_list(body["properties"][name])}}


def _or_list(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "array", "items": schema}]} if schema else schema


# What is sent


def _request(one: Endpoint, body: Json, definitions: Mapping[str, Json]) -> Json:
    content = _plain(one, body, definitions)
    taken = [] if one.medium is None else alone(one.medium)
    said = {}
    if one.medium is not None and taken:
        said["description"] = f"The bytes of `{one.medium.name}` alone may be sent as {' or '.join(taken)}."
        # Where no content is known that fits a range of types, schemathesis 4 gives up: it has some for pictures.
        content |= {media_type: {} for media_type in taken if media_type not in ("audio/*", "video/*")}
    found = form(one, body, definitions)
    if found is not None:
        content["multipart/form-data"] = found
    return {"required": bool(body.get("required")), **said, "content": content}


def _plain(one: Endpoint, body: Json, definitions: Mapping[str, Json]) -> Json:
    example = _example(one, body, definitions)
    if one.batch is not None:
        body = _one_or_many(body, one.batch.parameter)
    return {JSON.media_type: {"schema": body, **example}, MSGPACK.media_type: {}}


def _example(one: Endpoint, body: Json, definitions: Mapping[str, Json]) -> Json:
    """The keyword `example`; nothing where no value is found that the endpoint takes."""
    try:
        found = sample(body, definitions)
        JSON.decode(one.arguments, msgspec.json.encode(found))
    except (NoSample, InvalidArgument):
        return {}
    return {"example": found}


# What is given back


def _reply(one: Endpoint, schema: Json, definitions: Mapping[str, Json]) -> Json:
    said = schema if one.batch is None else _or_list(schema)
    content = {JSON.media_type: {"schema": said, **_shown(schema, definitions)}, MSGPACK.media_type: {}}
    if one.shape:
        return content  # of one that takes a stream, the reply is never a medium as it is
    kind = one.result.annotation
    given = (types for known, types in MEDIA.items() if isinstance(kind, type) and issubclass(kind, known))
    return content | {media_type: {} for media_type in next(given, ())}


def _shown(schema: Json, definitions: Mapping[str, Json]) -> Json:
    try:
        return {"example": sample(schema, definitions)} if schema else {}
    except NoSample:
        return {}
