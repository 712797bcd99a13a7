"""What does not travel: `REFUSED` values, before anything is sent, and `UNFIT` types, when the class is made."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import pathlib
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from cases import (
    BERLIN,
    INFINITY,
    NAN,
    Colour,
    Countdown,
    Everything,
    Extended,
    Left,
    Level,
    Loose,
    Mesh,
    Mixed,
    Names,
    Plain,
    Point,
    Rightmost,
    Shade,
    Slotted,
)
from xooai import ComboDoc, Doc, Image, Text


@dataclass(frozen=True)
class Refused:
    """A value that is refused before it is sent, in `words`."""

    name: str
    annotation: Any
    value: Any
    words: str


@dataclass(frozen=True)
class Unfit:
    """A type that is refused when a class is made with it, in `words`."""

    name: str
    annotation: Callable[[], Any]
    words: str


# Values that are refused before they are sent

_BIG = 2**63
_SECONDS = dt.timezone(dt.timedelta(minutes=53, seconds=28))  # Berlin's, before there were time zones

REFUSED = [
    Refused("int beyond 64 bits", int, _BIG, "64 bits"),
    Refused("int below 64 bits", int, -_BIG - 1, "64 bits"),
    Refused("enormous int", int, 10**5000, "64 bits"),
    Refused("int in a list", list[int], [1, _BIG], "64 bits"),
    Refused("int among texts", list[int | str], ["a", 1, _BIG], "64 bits"),
    Refused("int below among many", list[int], [1, -_BIG - 1, 2], "64 bits"),
    Refused("int in a deque", collections.deque[int], collections.deque([_BIG]), "64 bits"),
    Refused("int in a dataclass", Slotted, Slotted(1.0, _BIG), "64 bits"),
    Refused("int in a named tuple", Point, Point(_BIG), "64 bits"),
    Refused("int in a plain model", Plain, Plain(x=1, n=_BIG), "64 bits"),
    Refused("int as a key", dict[int, str], {_BIG: "a"}, "64 bits"),
    Refused("int in an untyped place", Any, {"a": [_BIG]}, "64 bits"),
    Refused("int in a document", list[Mesh], [Mesh.model_construct(value=b"", faces=(_BIG, 0, 0))], "64 bits"),
    Refused("surrogate", str, "a\ud800", "surrogates"),
    Refused("surrogate as a key", dict[str, int], {"\udfff": 1}, "surrogates"),
    Refused("surrogate in an untyped place", Any, ["\ud800"], "surrogates"),
    Refused("decimal that is not a number", decimal.Decimal, decimal.Decimal("NaN"), "Decimal is finite"),
    Refused("signalling decimal", list[decimal.Decimal], [decimal.Decimal("sNaN")], "Decimal is finite"),
    Refused("infinite decimal", dict[str, decimal.Decimal], {"a": decimal.Decimal("-Infinity")}, "Decimal is finite"),
    Refused("offset with seconds", dt.datetime, dt.datetime(1890, 1, 1, tzinfo=_SECONDS), "convert it to UTC"),
    Refused("zone of old", dt.datetime, dt.datetime(1890, 1, 1, tzinfo=BERLIN), "convert it to UTC"),
    Refused("time with seconds of offset", dt.time, dt.time(1, tzinfo=_SECONDS), "convert it to UTC"),
    Refused(
        "datetime in a model",
        Everything,
        Everything(when=dt.datetime(1890, 1, 1, tzinfo=_SECONDS)),
        "convert it to UTC",
    ),
    Refused("pattern with flags", re.Pattern[str], re.compile("a", re.IGNORECASE), "without flags"),
    Refused("pattern of bytes", re.Pattern[bytes], re.compile(b"a"), "without flags"),
    Refused("secret text", pydantic.SecretStr, pydantic.SecretStr("hush"), "asterisks"),
    Refused("secret bytes", list[pydantic.SecretBytes], [pydantic.SecretBytes(b"hush")], "asterisks"),
    Refused("secret number", pydantic.Secret[int], pydantic.Secret(5), "asterisks"),
    Refused("NaN in an untyped place", Any, [NAN], "no NaN or infinity"),
    Refused("infinity in an untyped dict", dict, {"a": INFINITY}, "no NaN or infinity"),
    Refused("NaN in an untyped field", Everything, Everything(anything={"a": NAN}), "no NaN or infinity"),
    Refused("NaN in an untyped typed dict", list[Loose], [{"anything": NAN}], "no NaN or infinity"),
    Refused("NaN in an extra field", Extended, Extended.model_validate({"more": NAN}), "no NaN or infinity"),
    Refused("NaN where text may stand", float | str, NAN, "cannot be told from a text"),
    Refused("infinity where text may stand", list[Literal["NaN"] | float], [INFINITY], "cannot be told from a text"),
    Refused("NaN where anything may stand", float | Any, NAN, "cannot be told from a text"),
    Refused("bytes in an untyped place", Any, b"a", "JSON values only, got bytes"),
    Refused("date in an untyped place", dict[str, Any], {"a": dt.date(2024, 1, 1)}, "JSON values only, got date"),
    Refused("tuple in an untyped place", Any, (1, 2), "JSON values only, got tuple"),
    Refused("enum in an untyped place", Any, Level.LOW, "JSON values only, got Level"),
    Refused("document in an untyped place", Any, Text(value="a"), "JSON values only, got Text"),
    Refused(
        "document in an extra field",
        Extended,
        Extended.model_validate({"more": Text(value="a")}),
        "JSON values only, got Text",
    ),
    Refused("int key in an untyped dict", dict, {1: "a"}, "str keys only, got int"),
    Refused("int key deep in an untyped place", Any, {"a": [{1: "a"}]}, "str keys only, got int"),
]


# Types that are refused when the class is made


class _Writes(BaseModel):
    x: int = Field(default=0, serialization_alias="X")


class _Reads(BaseModel):
    x: int = Field(default=0, validation_alias="X")


class _Path(BaseModel):
    x: int = Field(validation_alias=pydantic.AliasPath("a", 0))


class _Hidden(BaseModel):
    x: int = Field(exclude=True)


class _Area(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int = 0

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.x * self.x


class _Seconds(BaseModel):
    model_config = ConfigDict(ser_json_timedelta="float")
    wait: dt.timedelta


class _Extra(BaseModel):
    model_config = ConfigDict(extra="allow")


class _WithBytes(BaseModel):
    content: bytes


class _WithText(BaseModel):
    text: list[Text] = Field(default=[])


class _WithAny(BaseModel):
    more: dict[str, Any] = Field(default={})


class _FloatOrText(BaseModel):
    x: float | str = ""


@dataclasses.dataclass
class _RecordOfBytes:
    content: bytes


@dataclasses.dataclass
class _RecordOfInit:
    x: dataclasses.InitVar[int]


@dataclasses.dataclass
class _First:
    x: int


@dataclasses.dataclass
class _Second:
    x: int
    y: int = 0


class _ExtraFound(ComboDoc):
    model_config = ConfigDict(extra="allow")
    right: int


class _Tagged(ComboDoc):
    tag: Literal["a", "b"] = "a"


class _AlikeTagged(ComboDoc):
    tag: Literal["b", "c"] = "c"


class _PerhapsTagged(ComboDoc):
    tag: Literal["c"] | None = None


class _OtherTagged(ComboDoc):
    tag: Literal["d"] | None = None


class _Scan(Image):
    """A picture of the same kind as its base."""

    dpi: int = 300


class _Pair(enum.Enum):
    ONE = (1, 2)


class _Raw(enum.Enum):
    ONE = b"a"


class _Huge(enum.Enum):
    ONE = 2**64


class _Numeral(enum.StrEnum):
    ONE = "1"
    YES = "true"


class _When(TypedDict):
    when: dt.date | str


class _Foreign:
    """A class that pydantic knows nothing of."""


_UNION = "cannot be read back"

UNFIT = [
    Unfit("datetime or str", lambda: dt.datetime | str, "datetime and str.*both are written as a string"),
    Unfit("date or datetime", lambda: list[dt.date | dt.datetime], _UNION),
    Unfit("bytes or str", lambda: bytes | str, _UNION),
    Unfit("int or decimal", lambda: int | decimal.Decimal, _UNION),
    Unfit("bool or bytes", lambda: bool | bytes, _UNION),
    Unfit("float or fraction", lambda: float | fractions.Fraction, _UNION),
    Unfit("str or path", lambda: str | pathlib.Path, _UNION),
    Unfit("int or path", lambda: int | pathlib.Path, _UNION),
    Unfit("str or url", lambda: str | pydantic.AnyUrl, _UNION),
    Unfit("two urls", lambda: pydantic.AnyUrl | pydantic.HttpUrl, _UNION),
    Unfit("str or pattern", lambda: str | re.Pattern[str], _UNION),
    Unfit("two ips", lambda: ipaddress.IPv4Address | ipaddress.IPv6Address, _UNION),
    Unfit("third-party or str", lambda: Countdown | str, _UNION),
    Unfit("date or any", lambda: dt.date | Any, _UNION),
    Unfit("document or any", lambda: Text | Any, _UNION),
    Unfit("enum or str", lambda: Colour | str, '"red" may be either'),
    Unfit("int enum or int", lambda: Level | int, "1 may be either"),
    Unfit("int enum or bool", lambda: Level | bool, "1 may be either"),
    Unfit("numeral or int", lambda: _Numeral | int, '"1" may be either'),
    Unfit("numeral or bool", lambda: bool | _Numeral, "may be either"),
    Unfit("two enums", lambda: Shade | enum.Enum("Other", {"A": "light"}), '"light" may be either'),
    Unfit("enum or literal of another", lambda: Mixed | Literal[Level.LOW], "1 may be either"),
    Unfit("literal or literal of an enum", lambda: Literal[1] | Literal[Level.LOW], "1 may be either"),
    Unfit("literal or date", lambda: Literal["2024-01-01"] | dt.date, "may be either"),
    Unfit("list or set", lambda: list[int] | set[int], "both are written as an array"),
    Unfit("list or tuple", lambda: list[int] | tuple[int, ...], "both are written as an array"),
    Unfit("sequence or bytes", lambda: Sequence[int] | bytes, "Sequence and bytes"),
    Unfit("sequence or base64", lambda: Sequence[int] | pydantic.Base64Str, "may be written as a sequence"),
    Unfit("list or sequence", lambda: list[int] | Sequence[str], "both are written as an array"),
    Unfit("tuples of one length", lambda: tuple[int, str] | tuple[str, str], "both are written as an array"),
    Unfit("lists of dates or texts", lambda: list[dt.date] | list[str], _UNION),
    Unfit("lists of floats or texts", lambda: list[float] | list[str], "NaN is written as a string"),
    Unfit("root model or list", lambda: Names | list[str], "RootModel"),
    Unfit("two dicts", lambda: dict[str, int] | dict[str, str], "both are written as an object"),
    Unfit("model or dict", lambda: Left | dict[str, int], "both are written as an object"),
    Unfit("models of which one reads the other", lambda: Left | Rightmost, "what one writes may be read as the other"),
    Unfit(
        "models whose literals share a value",
        lambda: _Tagged | _AlikeTagged,
        "what one writes may be read as the other",
    ),
    Unfit("models whose literals may be missing", lambda: _PerhapsTagged | _OtherTagged, _UNION),
    Unfit("dataclasses", lambda: _First | _Second, "what one writes may be read as the other"),
    Unfit("model with extra fields or another", lambda: Left | _ExtraFound, "what one writes may be read as the other"),
    Unfit("document or dict", lambda: Text | dict[str, str], "both are written as an object"),
    Unfit("documents or dict", lambda: Text | Image | dict[str, str], "both are written as an object"),
    Unfit("any document or dict", lambda: Doc | dict[str, str], "Doc and dict|dict and Doc"),
    Unfit(
        "any document or base64", lambda: Doc | pydantic.Base64Bytes, "a function decides how one of them is written"
    ),
    Unfit("two documents of one kind", lambda: Image | _Scan, "Image and _Scan"),
    Unfit("three documents, two of one kind", lambda: Text | Image | _Scan, "Image and _Scan"),
    Unfit("union in a typed dict", lambda: list[_When], r"\.when: a union"),
    Unfit("union in a sequence", lambda: Sequence[dt.date | str], _UNION),
    Unfit("key of two types", lambda: dict[int | str, int], "cannot be the key of an object"),
    Unfit("bytes as a key", lambda: dict[bytes, int], "cannot be the key of an object"),
    Unfit("tuple as a key", lambda: dict[tuple[int, int], int], "cannot be the key of an object"),
    Unfit("none as a key", lambda: dict[None, int], "cannot be the key of an object"),
    Unfit("literal int as a key", lambda: dict[Literal[1, 2], int], "cannot be the key of an object"),
    Unfit("mixed enum as a key", lambda: dict[Mixed, int], "cannot be the key of an object"),
    Unfit("set of documents", lambda: set[Text], "a set of documents does not travel; take a list"),
    Unfit("set of tuples of bytes", lambda: frozenset[tuple[int, bytes]], "a set of what holds bytes"),
    Unfit("set of bytes or ints", lambda: set[bytes | int], "take a list"),
    Unfit("enum of tuples", lambda: _Pair, "_Pair has the value \\(1, 2\\)"),
    Unfit("enum of bytes", lambda: _Raw, "_Raw has the value b'a'"),
    Unfit("enum beyond 64 bits", lambda: _Huge, "64 bits"),
    Unfit("literal of an enum", lambda: Literal[Colour.RED], "does not come back from JSON"),
    Unfit("literal of bytes", lambda: Literal[b"a"], "does not come back from JSON"),
    Unfit("iterable", lambda: typing.Iterable[int], "can be read once only"),
    Unfit("callable", lambda: Callable[[], int], "a function does not travel"),
    Unfit("class", lambda: type[Plain], "a class does not travel"),
    Unfit("instance", lambda: pydantic.InstanceOf[_Foreign], "can look at such an object but not make one"),
    Unfit("foreign class", lambda: _Foreign, "annotate it with a document or a type that pydantic validates"),
    Unfit("json", lambda: pydantic.Json[list[int]], "annotate it with what the text says"),
    Unfit("serialization alias", lambda: _Writes, "x is written as 'X' and not read by that name"),
    Unfit("validation alias", lambda: _Reads, "x is written as 'x' and not read by that name"),
    Unfit("alias path", lambda: _Path, "x is written as 'x' and not read by that name"),
    Unfit("excluded", lambda: _Hidden, "x is excluded, and needed"),
    Unfit("computed where extra is forbidden", lambda: _Area, "area is computed"),
    Unfit("times as numbers", lambda: _Seconds, "ser_json_timedelta='float'"),
    Unfit("plain model with extra", lambda: _Extra, "subclass ComboDoc"),
    Unfit("plain model with bytes", lambda: _WithBytes, "_WithBytes holds bytes.*subclass ComboDoc"),
    Unfit(
        "plain model with a document", lambda: list[_WithText], "_WithText holds the document Text.*subclass ComboDoc"
    ),
    Unfit("plain model with any", lambda: dict[str, _WithAny], "_WithAny holds a value of any type.*subclass ComboDoc"),
    Unfit("plain model with float or text", lambda: _FloatOrText, "_FloatOrText holds a union of float and str"),
    Unfit("dataclass with bytes", lambda: _RecordOfBytes, "_RecordOfBytes holds bytes.*subclass ComboDoc"),
    Unfit("dataclass with an InitVar", lambda: _RecordOfInit, "InitVar"),
]
