"""Types and values for round trips, whatever carries them: a codec, a call within the process, a driver.

`CASES` come back as they were sent. `REFUSED` values are refused before anything is sent. `UNFIT` types are refused when the
class is made. `same` says what "as they were" means.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import math
import pathlib
import re
import typing
import uuid
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypeVar

import pydantic
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import core_schema
from typing_extensions import TypedDict

from xooai import Audio, ComboDoc, Doc, Executor, File, Image, Tensor, Text, Video, post

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
NAN, INFINITY = math.nan, math.inf


@dataclass(frozen=True)
class Case:
    """A type, and values of it that come back as they were."""

    name: str
    annotation: Any
    values: st.SearchStrategy[Any]


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


def echo(annotation: Any) -> type[Executor]:
    """An executor whose endpoint `echo` takes a `value` of this type and gives it back."""

    def echo(self: Any, value: Any) -> Any:
        return value

    echo.__annotations__ = {"value": annotation, "return": annotation}
    return type("Echo", (Executor,), {"echo": post(echo)})


# What "as it was" means


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same in type and content, at any depth: NaN is NaN, 0.0 is not -0.0, 1 is not 1.0 or True."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (one != one and other != other) or (one == other and math.copysign(1, one) == math.copysign(1, other))
    if isinstance(one, complex):
        return all(a == b or (a != a and b != b) for a, b in ((one.real, other.real), (one.imag, other.imag)))
    if isinstance(one, decimal.Decimal):
        return str(one) == str(other)
    if isinstance(one, dt.datetime | dt.time):  # the zone's name does not travel, its offset does
        return bool(
            one.replace(tzinfo=None, fold=0) == other.replace(tzinfo=None, fold=0)
            and one.utcoffset() == other.utcoffset()
        )
    if isinstance(one, re.Pattern):
        return bool((one.pattern, one.flags) == (other.pattern, other.flags))
    parts = _parts(one)
    return bool(one == other) if parts is None else _pairwise(parts, _parts(other) or [])


def _pairwise(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(map(same, one, other))


def _parts(value: Any) -> list[Any] | None:
    """What a value is made of, in an order that does not depend on how it was made; None for what has no parts."""
    if isinstance(value, BaseModel):
        return [
            *((name, getattr(value, name)) for name in type(value).model_fields),
            *(value.__pydantic_extra__ or {}).items(),
        ]
    if isinstance(value, Mapping):
        return [part for pair in sorted(value.items(), key=repr) for part in pair]
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, list | tuple | collections.deque):
        return list(value)
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return None


# Values

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "",
        "\0",
        "NaN",
        "Infinity",
        "1",
        "true",
        "null",
        '{"a":1,"a":2}',
        "[[[",
        '"',
        "\\",
        "\u2028",
        "\ufeff",
        "𝄞",
        "2024-02-29",
        "é\u0301",
    ]
)
BYTES = st.binary(max_size=20) | st.sampled_from([b"", b"\xff\xfe\xfb\xff", b"\xfb\xef\xbe", bytes(range(256))])
FLOATS = st.floats() | st.sampled_from(
    [NAN, INFINITY, -INFINITY, 0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e16, 1e22]
)
INTS = st.integers(INT_MIN, INT_MAX) | st.sampled_from([INT_MIN, INT_MAX, 2**53 + 1, -1, 0, 1])
_ZONES = st.sampled_from(
    [dt.timedelta(0), dt.timedelta(hours=5, minutes=30), dt.timedelta(hours=-23, minutes=-59)]
).map(dt.timezone)
_BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NAIVE = st.datetimes() | st.sampled_from([dt.datetime.min, dt.datetime.max])
AWARE = st.datetimes(dt.datetime(1950, 1, 1), timezones=_ZONES | st.just(_BERLIN)) | st.just(
    dt.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=_BERLIN)
)
TIMES = st.times() | st.times(timezones=_ZONES)
DELTAS = st.timedeltas() | st.sampled_from([dt.timedelta.min, dt.timedelta.max, dt.timedelta(microseconds=-1)])
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [decimal.Decimal(text) for text in ("1.10", "-0", "1E+400", "0.1234567890123456789012345678901234567890", "1")]
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Shade(enum.StrEnum):
    LIGHT = "light"
    DARK = "dark"


class Mixed(enum.Enum):
    NUMBER = 1
    TEXT = "1"
    HALF = 0.5


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float = NAN


class Row(TypedDict):
    name: str
    content: bytes
    when: NotRequired[dt.date]


class Loose(TypedDict):
    anything: Any


class Holder(TypedDict):
    scan: Image | Text


@dataclasses.dataclass
class Record:
    x: float
    when: dt.date | None = None
    more: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: float
    n: int = 5


@pydantic_dataclass
class Checked:
    x: float
    when: dt.timedelta


class Plain(BaseModel):
    """A model as people have them already: its own rules would write NaN as null."""

    x: float
    n: int = 0
    scores: dict[str, float] = Field(default={})
    rows: list[Record] = Field(default=[])


class Cell(BaseModel):
    model_config = ConfigDict(frozen=True)
    x: int


class Names(RootModel[list[str]]):
    pass


class Tree(ComboDoc):
    value: float
    content: bytes = b""
    children: list[Tree] = Field(default=[])


class PlainTree(BaseModel):
    value: float
    children: list[PlainTree] = Field(default=[])


class Everything(ComboDoc):
    """A field of every kind."""

    content: bytes = b""
    when: dt.datetime | None = None
    numbers: set[int] = Field(default=set())
    colour: Colour | None = None
    name: Literal["a", "b"] | int = "a"
    plain: Plain | None = None
    table: dict[uuid.UUID, list[tuple[int, bytes]]] = Field(default={})
    anything: Any = None
    image: Image | None = None
    docs: list[Text | Image] = Field(default=[])


class Aliased(ComboDoc):
    class_: str = Field(alias="class")
    value: int = Field(default=0, validation_alias="Value", serialization_alias="Value")


class ByEitherName(ComboDoc):
    model_config = ConfigDict(validate_by_name=True)
    value: int = Field(default=0, validation_alias="Value")


class Extended(ComboDoc):
    model_config = ConfigDict(extra="allow")
    x: int = 0


class Strictly(ComboDoc):
    """JSON has no dates, sets, tuples: even a strict model takes what stands for them."""

    model_config = ConfigDict(strict=True)
    day: dt.date
    numbers: set[int]
    pair: tuple[int, str]
    id: uuid.UUID
    colour: Colour
    content: bytes
    price: decimal.Decimal
    image: Image
    table: dict[int, float]
    path: pathlib.Path


class Cat(ComboDoc):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(ComboDoc):
    kind: Literal["dog"] = "dog"
    tricks: list[str] = Field(default=[])


class Named(ComboDoc):
    name: str


class Left(ComboDoc):
    left: int


class Rightmost(ComboDoc):
    right: int
    left: int | None = None


T = TypeVar("T")


class Box(ComboDoc, Generic[T]):
    inside: T
    others: dict[str, T] = Field(default={})


class Mesh(Doc):
    """A kind from somebody else's package."""

    value: bytes | None = None
    scale: float = 1.0
    faces: tuple[int, int, int] | None = None

    @classmethod
    def encode(cls, value: Any) -> Any:
        return value

    @classmethod
    def decode(cls, data: bytes) -> Any:
        return data


class Countdown:
    """A class with a schema of its own, as third parties write them: from a string in JSON, an instance in Python."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Countdown) and self.seconds == other.seconds

    def __repr__(self) -> str:
        return f"Countdown({self.seconds})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: pydantic.GetCoreSchemaHandler) -> Any:
        from_text = pydantic.TypeAdapter(
            Annotated[str, pydantic.AfterValidator(lambda text: cls(int(text.removesuffix("s"))))]
        )
        return core_schema.json_or_python_schema(
            json_schema=from_text.core_schema,
            python_schema=core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: f"{value.seconds}s"),
        )


_DOCUMENTS: dict[type[Doc], st.SearchStrategy[Any]] = {
    Text: st.builds(Text, value=TEXTS) | st.builds(Text, ref=TEXTS) | st.builds(Text, ref=TEXTS, value=TEXTS),
    Image: st.builds(Image, value=BYTES) | st.builds(Image, ref=TEXTS, media_type=st.sampled_from(["image/png", None])),
    Audio: st.builds(Audio, value=BYTES, size=st.integers(0, INT_MAX)),
    Video: st.builds(Video, ref=TEXTS, signature=st.just("sha256:" + "0" * 64)),
    File: st.builds(File, value=BYTES, media_type=TEXTS),
    Tensor: st.builds(lambda data: Tensor(dtype="uint8", shape=(len(data),), value=data), BYTES),
    Mesh: st.builds(Mesh, value=BYTES, scale=FLOATS, faces=st.none() | st.tuples(INTS, INTS, INTS)),
}
DOCUMENTS = st.one_of(*_DOCUMENTS.values())


def _lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=4)


def _table(keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(keys, values, max_size=4)


_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | INTS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: _lists(inner) | _table(TEXTS, inner),
    max_leaves=8,
)
_PLAIN = st.builds(Plain, x=FLOATS, n=INTS, scores=_table(TEXTS, FLOATS), rows=_lists(st.builds(Record, x=FLOATS)))
_TREES = st.recursive(
    st.builds(Tree, value=FLOATS, content=BYTES),
    lambda inner: st.builds(Tree, value=FLOATS, children=_lists(inner)),
    max_leaves=6,
)
_PLAIN_TREES = st.recursive(
    st.builds(PlainTree, value=FLOATS),
    lambda inner: st.builds(PlainTree, value=FLOATS, children=_lists(inner)),
    max_leaves=6,
)
_EVERYTHING = st.builds(
    Everything,
    content=BYTES,
    when=st.none() | NAIVE | AWARE,
    numbers=st.sets(INTS, max_size=4),
    colour=st.none() | st.sampled_from(Colour),
    name=st.sampled_from(["a", "b"]) | INTS,
    plain=st.none() | _PLAIN,
    table=_table(st.uuids(), _lists(st.tuples(INTS, BYTES))),
    anything=_JSON_VALUES,
    image=st.none() | _DOCUMENTS[Image],
    docs=_lists(_DOCUMENTS[Text] | _DOCUMENTS[Image]),
)
_STRICT = st.builds(
    Strictly,
    day=st.dates(),
    numbers=st.sets(INTS, max_size=3),
    pair=st.tuples(INTS, TEXTS),
    id=st.uuids(),
    colour=st.sampled_from(Colour),
    content=BYTES,
    price=DECIMALS,
    image=_DOCUMENTS[Image],
    table=_table(INTS, FLOATS),
    path=st.just(pathlib.Path("a/b")),
)

CASES = [
    Case("bool", bool, st.booleans()),
    Case("int", int, INTS),
    Case("float", float, FLOATS),
    Case("complex", complex, st.complex_numbers()),
    Case("str", str, TEXTS),
    Case("bytes", bytes, BYTES),
    Case("none", None, st.none()),
    Case("datetime", dt.datetime, NAIVE | AWARE),
    Case("aware datetime", pydantic.AwareDatetime, AWARE),
    Case("naive datetime", pydantic.NaiveDatetime, NAIVE),
    Case("date", dt.date, st.dates()),
    Case("time", dt.time, TIMES),
    Case("timedelta", dt.timedelta, DELTAS),
    Case("uuid", uuid.UUID, st.uuids()),
    Case("decimal", decimal.Decimal, DECIMALS),
    Case("fraction", fractions.Fraction, st.fractions()),
    Case("enum", Colour, st.sampled_from(Colour)),
    Case("int enum", Level, st.sampled_from(Level)),
    Case("str enum", Shade, st.sampled_from(Shade)),
    Case("mixed enum", Mixed, st.sampled_from(Mixed)),
    Case("flag", Right, st.sampled_from([Right.READ, Right.READ | Right.WRITE])),
    Case("literal", Literal["a", "1", 1, True, None], st.sampled_from(["a", "1", 1, True, None])),
    Case("literal of an int enum", Literal[Level.LOW, "a"], st.sampled_from([Level.LOW, "a"])),
    Case("list", list[float], _lists(FLOATS)),
    Case("nested list", list[list[bytes]], _lists(_lists(BYTES))),
    Case("set", set[int], st.sets(INTS, max_size=4)),
    Case("set of floats", set[float], st.sets(st.floats(allow_nan=False), max_size=4)),
    Case("set of bytes", set[bytes], st.sets(BYTES, max_size=9)),
    Case("set of models", set[Cell], st.sets(st.builds(Cell, x=INTS), max_size=4)),
    Case("frozenset", frozenset[dt.datetime], st.frozensets(NAIVE, max_size=4)),
    Case("tuple", tuple[int, str, bytes], st.tuples(INTS, TEXTS, BYTES)),
    Case("tuple of any length", tuple[float, ...], _lists(FLOATS).map(tuple)),
    Case("empty tuple", tuple[()], st.just(())),
    Case("named tuple", Point, st.builds(Point, INTS, FLOATS)),
    Case("deque", collections.deque[bytes], _lists(BYTES).map(collections.deque)),
    Case("sequence", Sequence[dt.date], _lists(st.dates())),
    Case("sequence of bytes", Sequence[bytes], _lists(BYTES)),
    Case("counter", typing.Counter[str], _lists(TEXTS).map(collections.Counter)),
    Case(
        "defaultdict",
        collections.defaultdict[str, int],
        _table(TEXTS, INTS).map(lambda table: collections.defaultdict(int, table)),
    ),
    Case("ordered dict", typing.OrderedDict[str, int], _table(TEXTS, INTS).map(collections.OrderedDict)),
    Case("dict", dict[str, bytes], _table(TEXTS, BYTES)),
    Case("dict by int", dict[int, bytes], _table(INTS, BYTES)),
    Case("dict by float", dict[float, int], _table(st.floats(allow_nan=False), INTS)),
    Case("dict by bool", dict[bool, int], _table(st.booleans(), INTS)),
    Case("dict by uuid", dict[uuid.UUID, float], _table(st.uuids(), FLOATS)),
    Case("dict by date", dict[dt.date, bytes], _table(st.dates(), BYTES)),
    Case("dict by enum", dict[Colour, int], _table(st.sampled_from(Colour), INTS)),
    Case("dict by int enum", dict[Level, int], _table(st.sampled_from(Level), INTS)),
    Case("dict by literal", dict[Literal["a", "b"], int], _table(st.sampled_from(["a", "b"]), INTS)),
    Case("dict by decimal", dict[decimal.Decimal, int], _table(DECIMALS, INTS)),
    Case("mapping", Mapping[str, int], _table(TEXTS, INTS)),
    Case("typed dict", Row, st.fixed_dictionaries({"name": TEXTS, "content": BYTES}, optional={"when": st.dates()})),
    Case("list of typed dicts", list[Row], _lists(st.fixed_dictionaries({"name": TEXTS, "content": BYTES}))),
    Case("typed dict with documents", Holder, st.fixed_dictionaries({"scan": _DOCUMENTS[Image] | _DOCUMENTS[Text]})),
    Case("dataclass", Record, st.builds(Record, x=FLOATS, when=st.none() | st.dates(), more=_lists(FLOATS))),
    Case("dataclass with slots", list[Slotted], _lists(st.builds(Slotted, x=FLOATS, n=INTS))),
    Case("pydantic dataclass", Checked, st.builds(Checked, x=FLOATS, when=DELTAS)),
    Case("plain model", Plain, _PLAIN),
    Case("plain model of itself", PlainTree, _PLAIN_TREES),
    Case("root model", Names, st.builds(Names, _lists(TEXTS))),
    Case("model of itself", Tree, _TREES),
    Case("everything", Everything, _EVERYTHING),
    Case("list of everything", list[Everything], _lists(_EVERYTHING)),
    Case("aliases", Aliased, st.builds(Aliased, **{"class": TEXTS, "Value": INTS})),
    Case("either name", ByEitherName, st.builds(ByEitherName, value=INTS)),
    Case(
        "extra fields",
        Extended,
        st.builds(lambda extra: Extended(**extra), st.fixed_dictionaries({"more": _JSON_VALUES})),
    ),
    Case("strict model", Strictly, _STRICT),
    Case("strict date", Annotated[dt.date, pydantic.Strict()], st.dates()),
    Case("strict set", Annotated[set[int], pydantic.Strict()], st.sets(INTS, max_size=3)),
    Case("strict floats", Annotated[list[float], pydantic.Strict()], _lists(FLOATS)),
    Case("strict int", pydantic.StrictInt, INTS),
    Case("strict bytes", pydantic.StrictBytes, BYTES),
    Case("generic", Box[dt.date], st.builds(Box[dt.date], inside=st.dates(), others=_table(TEXTS, st.dates()))),
    Case("generic of bytes", Box[bytes], st.builds(Box[bytes], inside=BYTES, others=_table(TEXTS, BYTES))),
    Case(
        "generic of documents",
        Box[Text | Image],
        st.builds(Box[Text | Image], inside=_DOCUMENTS[Text] | _DOCUMENTS[Image]),
    ),
    Case("any", Any, _JSON_VALUES),
    Case("object", object, _JSON_VALUES),
    Case("bare dict", dict, _table(TEXTS, _JSON_VALUES)),
    Case("bare list", list, _lists(_JSON_VALUES)),
    Case("typed dict of any", Loose, st.fixed_dictionaries({"anything": _JSON_VALUES})),
    Case("path", pathlib.Path, TEXTS.map(pathlib.Path)),
    Case("url", pydantic.AnyUrl, st.sampled_from(["http://host/a?b=c#d", "s3://bucket/%20"]).map(pydantic.AnyUrl)),
    Case("http url", pydantic.HttpUrl, st.just(pydantic.HttpUrl("https://host:444/"))),
    Case("dsn", pydantic.PostgresDsn, st.just(pydantic.PostgresDsn("postgres://u:p@h/db"))),
    Case("ipv4", ipaddress.IPv4Address, st.ip_addresses(v=4)),
    Case("ipv6", ipaddress.IPv6Address, st.ip_addresses(v=6)),
    Case("ip network", ipaddress.IPv4Network, st.just(ipaddress.IPv4Network("10.0.0.0/8"))),
    Case("any ip", pydantic.IPvAnyAddress, st.ip_addresses()),
    Case("pattern", re.Pattern[str], st.sampled_from([r"a+", "(?:x)", ""]).map(re.compile)),
    Case("byte size", pydantic.ByteSize, st.integers(0, INT_MAX).map(pydantic.ByteSize)),
    Case("base64 bytes", pydantic.Base64Bytes, BYTES),
    Case("base64 text", pydantic.Base64Str, TEXTS),
    Case("third-party class", Countdown, st.builds(Countdown, INTS)),
    Case("third-party classes", dict[str, list[Countdown]], _table(TEXTS, _lists(st.builds(Countdown, INTS)))),
    Case("constrained", Annotated[int, Field(gt=0, lt=10)], st.integers(1, 9)),
    Case("optional", dt.date | None, st.none() | st.dates()),
    Case("int or str", int | str, INTS | TEXTS),
    Case("int or float", int | float, INTS | FLOATS),
    Case("bool or int", bool | int, st.booleans() | INTS),
    Case("bool or float", float | bool, st.booleans() | FLOATS),
    Case("float or str", float | str, st.floats(allow_nan=False, allow_infinity=False) | TEXTS),
    Case("number or date", int | dt.date, INTS | st.dates()),
    Case("number or uuid", float | uuid.UUID, FLOATS | st.uuids()),
    Case("literal or int", Literal["1", "auto"] | int, st.sampled_from(["1", "auto"]) | INTS),
    Case("literal or date", Literal["now"] | dt.date, st.just("now") | st.dates()),
    Case("enum or number", Colour | int, st.sampled_from(Colour) | INTS),
    Case("text or list", str | list[str], TEXTS | _lists(TEXTS)),
    Case("path or list", pathlib.Path | list[pathlib.Path], TEXTS.map(pathlib.Path) | _lists(TEXTS.map(pathlib.Path))),
    Case("text or sequence", str | Sequence[str], TEXTS | _lists(TEXTS)),
    Case("lists of int or str", list[int] | list[str], _lists(INTS) | _lists(TEXTS)),
    Case("lists of int or float", list[int] | list[float], _lists(INTS) | _lists(FLOATS)),
    Case(
        "point or box",
        tuple[int, int] | tuple[int, int, int, int],
        st.tuples(INTS, INTS) | st.tuples(INTS, INTS, INTS, INTS),
    ),
    Case("bytes or none or list", bytes | list[bytes] | None, BYTES | _lists(BYTES) | st.none()),
    Case("models", Left | Named, st.builds(Left, left=INTS) | st.builds(Named, name=TEXTS)),
    Case(
        "tagged models",
        Annotated[Cat | Dog, Field(discriminator="kind")],
        st.builds(Cat, lives=INTS) | st.builds(Dog, tricks=_lists(TEXTS)),
    ),
    Case("number or any", int | Any, _JSON_VALUES),
    *(Case(kind.__name__.lower(), kind, values) for kind, values in _DOCUMENTS.items()),
    Case("any document", Doc, DOCUMENTS),
    Case("optional document", Doc | None, st.none() | DOCUMENTS),
    Case("any document or text", Doc | str, DOCUMENTS | TEXTS),
    Case("any document or model", Doc | Left, DOCUMENTS | st.builds(Left, left=INTS)),
    Case("document or model", Text | Left, _DOCUMENTS[Text] | st.builds(Left, left=INTS)),
    Case("document or text", Text | str, _DOCUMENTS[Text] | TEXTS),
    Case(
        "documents",
        Text | Image | Tensor | Mesh | None,
        st.none() | DOCUMENTS.filter(lambda doc: not isinstance(doc, Audio | Video | File)),
    ),
    Case("documents or text", Text | Image | str, _DOCUMENTS[Text] | _DOCUMENTS[Image] | TEXTS),
    Case("list of documents", list[Doc], _lists(DOCUMENTS)),
    Case("documents by name", dict[str, Text | Image], _table(TEXTS, _DOCUMENTS[Text] | _DOCUMENTS[Image])),
    Case("tuple of documents", tuple[Image, Text], st.tuples(_DOCUMENTS[Image], _DOCUMENTS[Text])),
    Case("deque of documents", collections.deque[Image], _lists(_DOCUMENTS[Image]).map(collections.deque)),
]


def composed() -> st.SearchStrategy[Case]:
    """Types put together at random from those above; some of them are unfit."""
    single = st.sampled_from([case for case in CASES if "everything" not in case.name])
    return st.recursive(
        single, lambda inner: inner.flatmap(_wrapped) | st.tuples(inner, inner).flatmap(_joined), max_leaves=4
    )


def _wrapped(case: Case) -> st.SearchStrategy[Case]:
    name, annotation, values = case.name, case.annotation, case.values
    return st.sampled_from(
        [
            Case(f"list of {name}", _GENERIC[list][annotation], _lists(values)),
            Case(f"table of {name}", _GENERIC[dict][str, annotation], _table(TEXTS, values)),
            Case(f"{name} or none", _GENERIC[typing.Union][annotation, None], values | st.none()),
        ]
    )


def _joined(pair: tuple[Case, Case]) -> st.SearchStrategy[Case]:
    one, other = pair
    types, values = (one.annotation, other.annotation), (one.values, other.values)
    return st.sampled_from(
        [
            Case(f"{one.name} and {other.name}", _GENERIC[tuple][types], st.tuples(*values)),
            Case(f"{one.name} or {other.name}", _GENERIC[typing.Union][types], st.one_of(*values)),
        ]
    )


_GENERIC: dict[Any, Any] = {
    kind: kind for kind in (list, dict, tuple, typing.Union)
}  # what type checkers take no variable in


# Values that are refused before they are sent

_BIG = 2**63
_SECONDS = dt.timezone(dt.timedelta(minutes=53, seconds=28))  # Berlin's, before there were time zones

REFUSED = [
    Refused("int beyond 64 bits", int, _BIG, "64 bits"),
    Refused("int below 64 bits", int, -_BIG - 1, "64 bits"),
    Refused("enormous int", int, 10**5000, "64 bits"),
    Refused("int in a list", list[int], [1, _BIG], "64 bits"),
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
    Refused("zone of old", dt.datetime, dt.datetime(1890, 1, 1, tzinfo=_BERLIN), "convert it to UTC"),
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
    Unfit("enum or str", lambda: Colour | str, "'red' may be either"),
    Unfit("int enum or int", lambda: Level | int, "1 may be either"),
    Unfit("int enum or bool", lambda: Level | bool, "1 may be either"),
    Unfit("numeral or int", lambda: _Numeral | int, "'1' may be either"),
    Unfit("numeral or bool", lambda: bool | _Numeral, "may be either"),
    Unfit("two enums", lambda: Shade | enum.Enum("Other", {"A": "light"}), "'light' may be either"),
    Unfit("literal or date", lambda: Literal["2024-01-01"] | dt.date, "may be either"),
    Unfit("list or set", lambda: list[int] | set[int], "both are written as an array"),
    Unfit("list or tuple", lambda: list[int] | tuple[int, ...], "both are written as an array"),
    Unfit("tuples of one length", lambda: tuple[int, str] | tuple[str, str], "both are written as an array"),
    Unfit("lists of dates or texts", lambda: list[dt.date] | list[str], _UNION),
    Unfit("lists of floats or texts", lambda: list[float] | list[str], "NaN is written as a string"),
    Unfit("root model or list", lambda: Names | list[str], "RootModel"),
    Unfit("two dicts", lambda: dict[str, int] | dict[str, str], "both are written as an object"),
    Unfit("model or dict", lambda: Left | dict[str, int], "both are written as an object"),
    Unfit("models of which one reads the other", lambda: Left | Rightmost, "what one writes may be read as the other"),
    Unfit("dataclasses", lambda: _First | _Second, "what one writes may be read as the other"),
    Unfit("model with extra fields or another", lambda: Left | _ExtraFound, "what one writes may be read as the other"),
    Unfit("document or dict", lambda: Text | dict[str, str], "both are written as an object"),
    Unfit("documents or dict", lambda: Text | Image | dict[str, str], "both are written as an object"),
    Unfit("any document or dict", lambda: Doc | dict[str, str], "Doc and dict|dict and Doc"),
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
