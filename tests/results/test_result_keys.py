"""Which calls are the same: arguments that differ in anything that a handler can see are never taken for one another."""

from __future__ import annotations

import asyncio
import datetime
import enum
import json
import math
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import pytest
from answering import ask, site_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, PlainSerializer, SecretStr

from xooai import ComboDoc, Executor, File, Image, Tensor, Text, post
from xooai.codec import CODECS
from xooai.doc import mark_wire
from xooai.results.key import SHORT, Key, Unkeyed


def key(value: Any, *, identity: str = "", is_here: bool = False, path: str = "/a/b") -> bytes:
    return Key(path, identity, {"x": value}, is_here=is_here).digest


SIGNATURE = "sha256:" + "0" * 64
LONG = "x" * (SHORT + 1)

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.sampled_from([0, 1, "1", b"1", 1.0, True, -0.0, 0.0, math.nan, "", b"", None, "None", "list"])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(leaves.filter(lambda leaf: leaf == leaf), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=100)
@given(values, values)
def test_keys_are_equal_where_the_arguments_are_the_same_and_only_there(one: Any, other: Any) -> None:
    assert (key(one) == key(other)) == (repr(one) == repr(other))
    assert (key([one]) == key(other)) == (repr([one]) == repr(other))


class Colour(enum.Enum):
    RED = 1


class Names(enum.StrEnum):
    A = "a"


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Pair:
    x: int
    y: int


class Model(BaseModel):
    x: int = 0
    y: int = 0


class Other(BaseModel):
    x: int = 0
    y: int = 0


class Page(ComboDoc):
    scan: Image | None = None
    text: Text | None = None


UTC = datetime.UTC
EAST = datetime.timezone(datetime.timedelta(hours=1))
DIFFERENT: list[Any] = [
    *(1, 1.0, True, "1", b"1", bytearray(b"1"), Decimal(1), Decimal("1.0"), Colour.RED, [1], (1,), {1}, frozenset({1})),
    *(0.0, -0.0, math.nan, math.inf, -math.inf, "nan", "NaN", None, "null", "", [], (), {}, [None], [[]], deque([1])),
    *(
        "a",
        Names.A,
        b"a",
        Point(1, 2),
        Pair(1, 2),
        Model(x=1, y=2),
        Other(x=1, y=2),
        {"x": 1, "y": 2},
        {"y": 2, "x": 1},
    ),
    *(Model(), Model(x=0), [1, 2], (1, 2), [(1, 2)], [[1, 2]], ["list", [1, 2]], deque([1], 3)),
    *(
        datetime.datetime(2024, 1, 1, tzinfo=UTC),
        datetime.datetime(2024, 1, 1, 1, tzinfo=EAST),
        datetime.date(2024, 1, 1),
    ),
    *(datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 1, fold=1), "2024-01-01", datetime.timedelta(1)),
    *(uuid.UUID(int=1), str(uuid.UUID(int=1)), SecretStr("a"), SecretStr("b")),
    *(Text(value="a"), Text(value="b"), Text(value="a", ref="b"), Text(value="a", media_type="text/html")),
    *(File(value=b"a"), Image(value=b"a"), File(value=b"a", ref="a.txt"), Text(value=LONG), Text(value=LONG + "x")),
    *(Text(ref=f"store:a/{SIGNATURE}"), Text(ref=f"store:b/{SIGNATURE}"), File(ref=f"store:a/{SIGNATURE}")),
    *(Tensor(value=b"\0\0", dtype="uint8", shape=(2,)), Tensor(value=b"\0\0", dtype="uint8", shape=(1, 2))),
    *(
        Tensor(value=b"\0\0", dtype="int8", shape=(2,)),
        Page(),
        Page(text=Text(value="a")),
        Page(scan=Image(value=b"a")),
    ),
]


def test_what_is_different_makes_different_keys() -> None:
    found = [key(value) for value in DIFFERENT] + [key(("inside", value)) for value in DIFFERENT]
    assert len(set(found)) == 2 * len(DIFFERENT)


def test_who_calls_what_is_part_of_the_key() -> None:
    ways: list[dict[str, Any]] = [{}, {"identity": "a"}, {"is_here": True}, {"path": "/a/c"}]
    assert len({key(1, **way) for way in ways}) == len(ways)


def test_the_order_of_what_has_none_is_no_difference() -> None:
    assert key(set(range(0, 80, 8))) == key(
        set(range(72, -1, -8))
    )  # which clash, and so stand in the order of their coming
    assert Key("/", "", {"a": 1, "b": 2}, is_here=False).digest == Key("/", "", {"b": 2, "a": 1}, is_here=False).digest


def test_a_grant_is_no_difference() -> None:
    refs = [f"store:xooai/{SIGNATURE}?g={grant}" for grant in (f"1.{SIGNATURE[-64:]}", f"2.{SIGNATURE[-64:]}")]
    assert len({key(Text(ref=ref)) for ref in refs}) == 1
    assert len({key(Text(ref=ref, value="a")) for ref in refs}) == 1


def test_a_document_of_a_peer_is_told_from_one_of_this_process() -> None:
    own, marked = Text(value="a"), Text(value="a")
    mark_wire(marked)
    assert key(own, is_here=True) != key(marked, is_here=True)


def _with_ref_of_a_peer() -> Text:
    doc = Text(value="a", ref="/etc/passwd")
    mark_wire(doc)
    return doc


@pytest.mark.parametrize(
    ("value", "is_here"),
    [
        (File(ref="/etc/hostname"), True),
        (File(ref="https://127.0.0.1/a"), False),
        (File(ref="store:nonsense"), False),
        (File(ref=f"store:a/{SIGNATURE}", signature="sha256:" + "1" * 64), False),
        (File(ref=f"store:a/{SIGNATURE}"), True),
        (_with_ref_of_a_peer(), True),
        (object(), False),
        (2**64, False),
        ("\ud800", False),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, bool | int) else type(value).__name__,
)
def test_what_cannot_be_told_from_another_makes_no_key(value: Any, is_here: bool) -> None:
    with pytest.raises(Unkeyed):
        key(value, is_here=is_here)
    with pytest.raises(Unkeyed):
        key([value], is_here=is_here)


# The same answers


Hidden = Annotated[str, PlainSerializer(lambda _: "*", return_type=str)]


def program(cache: str | None) -> Any:
    class Program(Executor):
        runs = 0

        @post(cache=cache)
        def answer(
            self,
            number: float,
            some: int | bool | None,
            text: str,
            data: bytes,
            table: dict[str, list[int | None]],
            price: Decimal,
            docs: list[Text | Image | File],
        ) -> tuple[
            float, int | bool | None, str, bytes, dict[str, list[int | None]], Decimal, list[Text | Image | File]
        ]:
            self.runs += 1
            return number, some, text, data, table, price, docs

        @post(cache=cache)
        async def untyped(self, doc: Page, more: Any = None):  # type: ignore[no-untyped-def]
            return {"doc": doc, "more": more}

        @post(cache=cache)
        async def hidden(self, x: Hidden) -> int:
            return len(x)

    return Program()


@pytest.fixture(scope="module")
def programs() -> Iterator[tuple[Any, Any, Any]]:
    """One that keeps its replies, a client of it, and one that keeps none."""
    with program("10m") as keeping, program(None) as plain:
        (url,) = keeping.start("memory://program")
        with type(keeping).at(url) as client:
            yield keeping, client, plain


few_documents = st.sampled_from(
    [
        *(Text(value="a"), Text(value=""), Text(value="a", ref="a.txt"), Text(value="a", size=1), Text(value=LONG)),
        *(Image(value=b"a"), File(value=b"a"), File(value=b""), File(value=b"a", media_type="image/png")),
    ]
)
few = {
    "number": st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf]),
    "some": st.sampled_from([None, 0, 1, True, False]),
    "text": st.sampled_from(["", "1", "a", "\0"]),
    "data": st.sampled_from([b"", b"1", b"a", b"\xff"]),
    "table": st.dictionaries(
        st.sampled_from(["", "a", "1"]), st.lists(st.sampled_from([0, None]), max_size=1), max_size=2
    ),
    "price": st.sampled_from([Decimal(1), Decimal("1.0"), Decimal("-0"), Decimal(0)]),
    "docs": st.lists(few_documents, max_size=2),
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.fixed_dictionaries(few), codecs=st.lists(st.sampled_from(list(CODECS)), min_size=3, max_size=3))
def test_kept_answers_are_those_of_a_handler_that_runs(
    programs: tuple[Any, Any, Any], arguments: dict[str, Any], codecs: list[str]
) -> None:
    keeping, client, plain = programs
    wanted = repr(plain.post(on="answer", **arguments))

    runs = []
    for codec in codecs:
        for caller in (keeping, client):
            assert repr(caller.post(on="answer", codec=codec, **arguments)) == wanted
        runs.append(keeping.runs)
    assert runs[0] == runs[1] == runs[2]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    doc=st.builds(Page, text=few_documents.filter(lambda doc: isinstance(doc, Text))),
    codec=st.sampled_from(list(CODECS)),
)
def test_kept_answers_without_annotation_are_those_of_a_handler_that_runs(
    programs: tuple[Any, Any, Any], doc: Page, codec: str
) -> None:
    keeping, client, plain = programs
    for more in (None, 1, True, "1", [1, [True]]):
        wanted = repr(plain.post(on="untyped", doc=doc, more=more, codec=codec))
        for caller in (keeping, client):
            assert repr(caller.post(on="untyped", doc=doc, more=more, codec=codec)) == wanted


def test_arguments_that_a_serializer_would_make_alike_are_told_apart() -> None:
    async def scene() -> None:
        site = site_of(program("10m"))
        assert [(await ask(site, "hidden", json.dumps({"x": x}).encode())).frame for x in ("a", "bb", "a")] == [
            *(b"1", b"2", b"1")
        ]

    asyncio.run(scene())
