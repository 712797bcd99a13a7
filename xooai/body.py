"""Bodies that are neither JSON nor msgpack: a medium as it is, and multipart forms, bound to an endpoint's parameters."""

from __future__ import annotations

import importlib
from email.message import Message
from functools import lru_cache
from inspect import isabstract
from math import isinf
from typing import Any

import msgspec
from pydantic import ValidationError

from xooai.codec import CODECS, JSON, invalid, located
from xooai.doc import Doc
from xooai.docs import Audio, File, Image, Text, Video
from xooai.endpoint import Endpoint, Parameter
from xooai.errors import InvalidArgument, PluginError, Unimplemented
from xooai.media import sniff

__all__ = ["arguments_of"]

_RAW = ("image/", "audio/", "video/")
_RAW_WHOLE = ("text/plain", "application/octet-stream")
_KINDS: dict[str, type[Doc]] = {"image": Image, "audio": Audio, "video": Video, "text": Text}
_PARTS_LIMIT = 256  # parts of one form: more than any endpoint has parameters


def arguments_of(endpoint: Endpoint, content_type: str, frame: bytes) -> dict[str, Any]:
    """The arguments in a body of this content type, validated. Raises InvalidArgument, and Unimplemented for other types."""
    media_type, charset, boundary = _parsed(content_type)
    if media_type == "multipart/form-data":
        given = _form(endpoint, boundary, frame)
    elif media_type.startswith(_RAW) or media_type in _RAW_WHOLE:
        if media_type == "text/plain" and charset not in (None, "utf-8", "us-ascii"):
            raise InvalidArgument(f"the text is in the charset {charset[:40]!r}; send UTF-8")
        parameter = endpoint.medium
        if parameter is None:
            listed = ", ".join(endpoint.parameters) or "none"
            raise InvalidArgument(
                f"{endpoint.name} is not an endpoint with one document (its parameters: {listed}); send JSON or a multipart form"
            )
        given = {parameter.name: _document(endpoint, parameter, media_type, frame)}
    else:
        raise _unknown(media_type)
    try:
        found: dict[str, Any] = endpoint.arguments.validator.validate_python(given)
        return found
    except ValidationError as error:
        raise invalid(error) from None


@lru_cache(maxsize=256)  # clients send few different ones; a peer that invents them only makes us parse
def _parsed(content_type: str) -> tuple[str, str | None, object]:
    """Media type, charset and boundary of a Content-Type header (RFC 9110, 8.3.1)."""
    if not content_type:
        return "", None, None
    header = Message()
    header["content-type"] = content_type
    # The media type not from there: what is none, it takes for text/plain.
    return _media_type(content_type), header.get_content_charset(), header.get_param("boundary")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _unknown(media_type: str) -> Unimplemented:
    known = ", ".join(codec.media_type for codec in CODECS.values())
    given = f"the content type {media_type[:80]!r} is not taken" if media_type else "the request has no content type"
    hint = (
        "; with curl, send JSON by --json or --header 'Content-Type: application/json'"
        if "urlencoded" in media_type
        else ""
    )
    return Unimplemented(
        f"{given}; taken are: {known}, multipart/form-data, and image/*, audio/*, video/*, text/plain or "
        "application/octet-stream "
        f"for an endpoint with one document{hint}",
        details={"reason": "codec"},
    )


def _document(endpoint: Endpoint, parameter: Parameter, media_type: str, data: bytes) -> dict[str, Any]:
    """The fields of a document with this content."""
    kinds = parameter.documents
    chosen = kinds[0] if len(kinds) == 1 else _chosen(kinds, media_type, data)
    found = None if chosen is None else _fields(chosen, media_type)
    if found is None:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise InvalidArgument(
            f"{endpoint.name} takes {names} for {parameter.name!r}, the body is {media_type or 'of no content type'}"
        )
    kind, fields = found
    return {**fields, "value": kind.decode(data) if issubclass(kind, Text) else data}


def _chosen(kinds: list[type[Doc]], media_type: str, data: bytes) -> type[Doc] | None:
    """The member of a union of documents that a content of this media type is; by its first bytes, where that says nothing."""
    if media_type in ("", "application/octet-stream"):
        found = sniff(data) or ("text/plain" if media_type == "" else media_type)
    else:
        found = media_type
    wanted = _KINDS.get(found.partition("/")[0], File)
    fitting = [kind for kind in kinds if issubclass(kind, wanted)] or [kind for kind in kinds if kind is File]
    return fitting[0] if fitting else None


@lru_cache(maxsize=256)  # as above
def _fields(kind: type[Doc], media_type: str) -> tuple[type[Doc], dict[str, str]] | None:
    """The kind of a document that came as this media type, with its fields but for the content; None where it does not fit."""
    family = media_type.partition("/")[0]
    if isabstract(kind):  # Doc: any kind
        kind = _KINDS.get(family, File)
    name = kind.model_fields["kind"].default
    if family in _KINDS and name not in (family, "file"):
        return None
    fields = {"kind": name}
    if media_type and media_type != "application/octet-stream" and "*" not in media_type:
        fields["media_type"] = media_type
    elif issubclass(kind, Text):
        fields["media_type"] = "text/plain"
    return kind, fields


class _Part(msgspec.Struct):
    """One part of a form as it comes in."""

    headers: dict[str, str] = {}
    header_name: bytearray = msgspec.field(default_factory=bytearray)
    header_value: bytearray = msgspec.field(default_factory=bytearray)
    data: list[bytes] = []

    @property
    def media_type(self) -> str:
        """What the part says that it is, or ""."""
        return _media_type(self.headers.get("content-type", ""))

    def is_json(self) -> bool:
        """Whether it says that it is JSON, or says nothing and begins as an array or an object does."""
        first = self.data[0][:1] if self.data else b""
        return self.media_type == JSON.media_type or (self.media_type in ("", "text/plain") and first in (b"{", b"["))

    def end_header(self) -> None:
        name = self.header_name.decode("latin-1").lower()
        self.headers[name] = self.header_value.decode("utf-8", "replace")
        self.header_name.clear()
        self.header_value.clear()


def _parts(boundary: Any, frame: bytes) -> list[_Part]:
    if not isinstance(boundary, str) or not boundary or len(boundary) > 70:  # RFC 2046, 5.1.1
        raise InvalidArgument("the multipart form has no boundary of 1 to 70 characters in its content type")
    try:
        multipart = importlib.import_module("python_multipart.multipart")
    except ImportError as error:
        raise PluginError(
            "multipart forms need the module 'python_multipart'; try: pip install 'xooai[http]'"
        ) from error
    parts: list[_Part] = []

    def begin() -> None:
        if len(parts) >= _PARTS_LIMIT:
            raise InvalidArgument(f"the form has more than {_PARTS_LIMIT} parts")
        parts.append(_Part())

    ended = []
    parser = multipart.MultipartParser(
        boundary.encode("latin-1", "replace"),
        {
            "on_part_begin": begin,
            "on_part_data": lambda data, start, end: parts[-1].data.append(data[start:end]),
            "on_header_field": lambda data, start, end: parts[-1].header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: parts[-1].header_value.extend(data[start:end]),
            "on_header_end": lambda: parts[-1].end_header(),  # noqa: PLW0108 - parts grows
            "on_end": lambda: ended.append(True),
        },
    )
    try:
        parser.write(frame)
        parser.finalize()
    except multipart.MultipartParseError as error:
        raise InvalidArgument(f"the body is not a multipart form: {error}") from None
    if not ended:
        raise InvalidArgument("the multipart form is cut off: its last boundary is missing")
    return parts


def _form(endpoint: Endpoint, boundary: Any, frame: bytes) -> dict[str, Any]:
    named: dict[str, list[_Part]] = {}
    for part in _parts(boundary, frame):
        header = Message()
        header["content-disposition"] = part.headers.get("content-disposition", "")
        name = header.get_param("name", header="content-disposition")
        if not isinstance(name, str) or not name:
            raise InvalidArgument("a part of the form has no name; with curl: -F parameter=value or -F parameter=@file")
        named.setdefault(name, []).append(part)
    endpoint.check(named)  # before anything of it is read
    return {name: _argument(endpoint, endpoint.parameters[name], parts) for name, parts in named.items()}


def _argument(endpoint: Endpoint, parameter: Parameter, parts: list[_Part]) -> Any:
    """What the parts of one name stand for: several are a list, and so is one where a list is taken."""
    item = parameter.item
    if item is not None and not (len(parts) == 1 and parts[0].is_json()):
        return [_value(endpoint, item, part, parameter.name, index) for index, part in enumerate(parts)]
    if len(parts) > 1:
        raise InvalidArgument(f"the parameter {parameter.name[:80]!r} stands twice in the form")
    return _value(endpoint, parameter, parts[0], parameter.name)


def _value(endpoint: Endpoint, parameter: Parameter, part: _Part, *where: str | int) -> Any:
    """A part as the parameter takes it: a document of its bytes, JSON, or the text as it stands."""
    data = b"".join(part.data)
    takes = parameter.members
    if part.media_type != JSON.media_type:
        kinds = parameter.documents
        # In a union JSON says which member it is.
        if len(kinds) == 1 or (kinds and not (part.media_type == "" and part.is_json())):
            return _document(endpoint, parameter, part.media_type, data)
        if bytes in takes:
            return data
        text = _text(data, parameter.name)
        if str in takes:
            return text
        if not part.is_json():
            if float in takes:
                _check_finite(text, *where)
            return text
    try:
        return JSON.decode(endpoint.schema_of(parameter), data)
    except InvalidArgument as error:
        raise located(error, *where) from None


def _check_finite(text: str, *where: str | int) -> None:
    """Raise InvalidArgument for digits that are read as infinite, as JSON does: for infinity there are words."""
    try:
        is_infinite = isinf(float(text))
    except ValueError:  # no number at all, which the type says better
        return
    if is_infinite and any(map(str.isdigit, text)):
        reason = "Input should be a finite number"
        mistake = {"type": "finite_number", "loc": [*where], "msg": reason}
        raise InvalidArgument(f"{'.'.join(map(str, where))}: {reason}", errors=[mistake])


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"the part {name!r} is not UTF-8 text") from None
