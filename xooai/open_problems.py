"""Refusals in an OpenAPI document: by status, each with the problem document (RFC 9457) that such an error gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from xooai.driver import MESSAGE_LIMIT, Outcome
from xooai.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
    XooaiError,
    too_large,
)
from xooai.http import ID_HEADER, PROBLEM, problem, status_of

__all__ = ["problem_responses", "problem_schema", "references"]

Json = Any

_MISTAKE = {"type": "float_type", "loc": ["min_score"], "msg": "Input should be a valid number"}
_SAMPLES: Mapping[str, tuple[str, XooaiError]] = {
    "Malformed": (
        "The body cannot be read.",
        InvalidArgument("the body is not JSON: EOF while parsing an object at line 1 column 1"),
    ),
    "NotFound": (
        "There is no such endpoint, or something that the call names is not there.",
        NotFound("no endpoint 'reader/raed'; did you mean 'reader/read'?; there are: reader/read"),
    ),
    "TooLarge": (
        "The body is larger than one message may be.",
        too_large(2 * MESSAGE_LIMIT, MESSAGE_LIMIT, "the request"),
    ),
    "UnknownType": (
        "The content type is not taken.",
        Unimplemented("the content type 'text/html' is not taken", details={"reason": "codec"}),
    ),
    "Invalid": (
        "The body does not validate: `errors` tells where, and what is wrong there.",
        InvalidArgument("min_score: Input should be a valid number", errors=[_MISTAKE]),
    ),
    "Failed": (
        "The handler failed: the server's log tells more under `id`.",
        Internal("the handler failed; the server's log tells more under this id", id="1b2c3d4e-1"),
    ),
    "Unavailable": (
        "The server is not ready, or has too much to do.",
        Unavailable("this server is not ready for calls"),
    ),
}
_OTHER = "What else went wrong.", DeadlineExceeded("the time allowed for the call has passed")
_HEADERS: Mapping[str, Json] = {
    "Failed": {ID_HEADER: {"description": "As `id` in the body.", "schema": {"type": "string"}}},
    "Unavailable": {"retry-after": {"description": "In seconds.", "schema": {"type": "integer", "minimum": 1}}},
}


def references() -> Json:
    """What an operation says of its refusals, by status."""
    named = {str(status_of(_outcome(error))): name for name, (_, error) in _SAMPLES.items()}
    return {
        status: {"$ref": f"#/components/responses/{name}"} for status, name in {**named, "default": "Other"}.items()
    }


def problem_responses(schema: str) -> Json:
    """The responses that they refer to, by name; `schema` refers to `problem_schema`."""
    return {name: _response(schema, name, *told) for name, told in {**_SAMPLES, "Other": _OTHER}.items()}


def _response(schema: str, name: str, description: str, error: XooaiError) -> Json:
    example = msgspec.json.decode(problem(_outcome(error)))
    headers = {"headers": _HEADERS[name]} if name in _HEADERS else {}
    content = {PROBLEM: {"schema": {"$ref": schema}, "example": example}}
    return {"description": description, **headers, "content": content}


def _outcome(error: XooaiError) -> Outcome:
    return Outcome(error.code, error.message, error.details, error.id)


def problem_schema() -> Json:
    """The schema of a problem document."""
    properties = {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "The name of the code."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One line: what was given, what is wrong, what would be right."},
        "code": {"type": "integer", "description": "gRPC's number of the code."},
        "id": {"type": "string", "description": "The request id, under which the server's log tells more."},
        "details": {"type": "object", "description": "More, such as `errors` with the location of each mistake."},
    }
    needed = ["type", "title", "status", "detail", "code"]
    return {
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "properties": properties,
        "required": needed,
    }
