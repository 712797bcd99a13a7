"""Types and values for round trips, whatever carries them: a codec, a call within the process, a driver.

`CASES` come back as they were sent; `same` says what "as they were" means. What is refused is in `unfit`.
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
from collections.abc import Mapping, Sequence
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
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NAIVE = st.datetimes() | st.sampled_from([dt.datetime.min, dt.datetime.max])
AWARE = st.datetimes(dt.datetime(1950, 1, 1), timezones=_ZONES | st.just(BERLIN)) | st.just(
    dt.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)
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


class Tabby(ComboDoc):
    pet: Literal["cat"]
    pic: Image


class Hound(ComboDoc):
    pet: Literal["dog", "puppy"] = "dog"
    n: int = 3


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
    Audio: st.builds(lambda data: Audio(value=data, size=len(data)), BYTES)
    | st.builds(Audio, ref=TEXTS, size=st.integers(0, INT_MAX)),
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
    Case(
        "models told apart by a literal",
        Tabby | Hound,
        st.builds(Tabby, pet=st.just("cat"), pic=_DOCUMENTS[Image])
        | st.builds(Hound, pet=st.sampled_from(["dog", "puppy"]), n=INTS),
    ),
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
