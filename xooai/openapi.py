"""The OpenAPI 3.1 document of executors (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from xooai.codec import JSON, MSGPACK
from xooai.driver import MESSAGE_LIMIT
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument
from xooai.form_schema import MEDIA, form, kind_of
from xooai.http import ID_HEADER, PROBLEM
from xooai.json_schema import Schemas, described
from xooai.open_schema import Open, as_taken
from xooai.sample import NoSample, sample

__all__ = ["openapi"]

Json = Any


def openapi(endpoints: Mapping[str, Mapping[str, Endpoint]]) -> Json:
    """The document of endpoints by name, by the executor's name."""
    paths = {f"/{executor}/{name}": one for executor, ones in endpoints.items() for name, one in ones.items()}
    schemas = described(paths, "#/components/schemas/{model}", Open)
    ids = _ids(endpoints)
    return {
        "openapi": "3.1.0",
        "info": {"title": ", ".join(endpoints) or "xooai", "version": _version()},
        "servers": [{"url": "."}],  # beside this document, wherever the application is mounted
        "tags": [{"name": executor} for executor in endpoints],
        "paths": {
            path: {"post": {"operationId": ids[path], "tags": [path.split("/")[1]], **_operation(path, one, schemas)}}
            for path, one in paths.items()
        },
        "components": {
            "schemas": {
                **{name: as_taken(schema) for name, schema in schemas.definitions.items()},
                "Problem": _PROBLEM,
            },
            "responses": {name: _refusal(*said) for name, said in _REFUSALS.values()},
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
    return {
        "summary": summary or one.name,
        **({"description": description.strip()} if description.strip() else {}),
        "requestBody": _request(one, schemas.bodies[path], schemas.definitions),
        "responses": {
            "200": {"description": "The reply.", "content": dict(_reply(one, schemas.replies[path]))},
            **{status: {"$ref": f"#/components/responses/{name}"} for status, (name, _) in _REFUSALS.items()},
        },
    }


# What is sent


def _request(one: Endpoint, body: Json, definitions: Mapping[str, Json]) -> Json:
    content = {JSON.media_type: {"schema": body, **_example(one, body, definitions)}, MSGPACK.media_type: {}}
    kind = None if one.medium is None else kind_of(one.medium)
    said = {}
    if one.medium is not None and kind is not None:
        alone = MEDIA[kind]
        said["description"] = f"The bytes of `{one.medium.name}` alone may be sent as {' or '.join(alone)}."
        # Where no content is known that fits a range of types, schemathesis 4 gives up: it has some for pictures.
        content |= {media_type: {} for media_type in alone if media_type not in ("audio/*", "video/*")}
    found = form(one, body, definitions)
    if found is not None:
        content["multipart/form-data"] = found
    return {"required": True, **said, "content": content}


def _example(one: Endpoint, body: Json, definitions: Mapping[str, Json]) -> Json:
    """The keyword `example`; nothing where no value is found that the endpoint takes."""
    try:
        found = sample(body, definitions)
        JSON.decode(one.arguments, msgspec.json.encode(found))
    except (NoSample, InvalidArgument):
        return {}
    return {"example": found}


# What is given back


def _reply(one: Endpoint, schema: Json) -> Iterator[tuple[str, Json]]:
    yield JSON.media_type, {"schema": schema}
    yield MSGPACK.media_type, {}
    kind = one.result.annotation
    if isinstance(kind, type):
        for media_type in next((types for known, types in MEDIA.items() if issubclass(kind, known)), ()):
            yield media_type, {}


_REFUSALS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "400": ("Malformed", ("The body cannot be read.",)),
    "404": ("NotFound", ("There is no such endpoint, or something that the call names is not there.",)),
    "413": ("TooLarge", (f"The body has more than {MESSAGE_LIMIT:,} bytes.",)),
    "415": ("UnknownType", ("The content type is not taken.",)),
    "422": ("Invalid", ("The body does not validate: `details.errors` has the location of each mistake.",)),
    "500": ("Failed", ("The handler failed: the server's log tells more under `id`.", ID_HEADER)),
    "503": ("Unavailable", ("The server is not ready, or has too much to do.", "retry-after")),
    "default": ("Problem", ("What else went wrong.",)),
}
_HEADERS = {
    ID_HEADER: {"description": "As `id` in the body.", "schema": {"type": "string"}},
    "retry-after": {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}},
}


def _refusal(description: str, *headers: str) -> Json:
    told = {"headers": {name: _HEADERS[name] for name in headers}} if headers else {}
    return {
        "description": description,
        **told,
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


_PROBLEM: Json = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "The name of the code."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One line: what was given, what is wrong, what would be right."},
        "code": {"type": "integer", "description": "gRPC's number of the code."},
        "id": {"type": "string", "description": "The request id, under which the server's log tells more."},
        "details": {"type": "object", "description": "More, such as `errors` with the location of each mistake."},
    },
    "required": ["type", "title", "status", "detail", "code"],
}
