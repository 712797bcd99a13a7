"""Descriptions: OpenAPI for everybody, and what a client without the class reads."""

from __future__ import annotations

import datetime
import enum
import http.client
import json
import math
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import judging
from xooai import (
    Audio,
    ComboDoc,
    Doc,
    Executor,
    Image,
    Internal,
    InvalidArgument,
    NotFound,
    Tensor,
    Text,
    Unimplemented,
    XooaiError,
    post,
)
from xooai.annotations import executors_from
from xooai.server import Site

pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
judging.needed()

HERE = "http://127.0.0.1:0"
PNG = b"\x89PNG\r\n\x1a\n\0\xff"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    x: int
    y: float = 0.0


class Page(ComboDoc):
    scan: Image
    caption: Text | None = None
    marks: list[Image | Text] = []


class Tree(ComboDoc):
    leaf: Image
    branches: list[Tree] = []
    named: dict[str, Tree] = {}


class Odd(ComboDoc):
    """Names that a class cannot have as they are."""

    json_: int = Field(alias="json")
    dashed: Text = Field(alias="content-type")
    from_: str = Field("x", alias="from")
    private: int = Field(0, alias="_private")
    config: int = Field(0, alias="model_config")


class Open(ComboDoc):
    model_config = {"extra": "allow"}
    name: str


class Library(Executor):
    """Endpoints of every type."""

    @post
    def read(
        self,
        doc: Image,
        min_score: Annotated[float, Field(ge=0, le=1, description="Between none and all.", examples=[0.25])] = 0.5,
        language: Literal["en", "de"] = "en",
        limit: float = math.inf,
        colour: Colour = Colour.RED,
    ) -> Text:
        """Read a page.

        Slowly, line by line.
        """
        return Text(value=f"{len(doc.read())} {min_score} {language}")

    @post
    async def page(self, page: Page) -> Page:
        return page

    @post
    def tree(self, tree: Tree) -> Tree:
        return tree

    @post
    def odd(self, odd: Odd) -> Odd:
        return odd

    @post
    def open_record(self, record: Open) -> Open:
        return record

    @post
    def moments(
        self, at: datetime.datetime, day: datetime.date, hour: datetime.time, span: datetime.timedelta
    ) -> tuple[datetime.datetime, datetime.date, datetime.time, datetime.timedelta]:
        return at, day, hour, span

    @post
    def exact(self, id: uuid.UUID, price: Decimal, data: bytes) -> tuple[uuid.UUID, Decimal, bytes]:
        return id, price, data

    @post
    def prices(self, by_day: dict[datetime.date, Decimal]) -> dict[datetime.date, Decimal]:
        return by_day

    @post
    def counted(self, by_number: dict[int, str]) -> dict[int, str]:
        return by_number

    @post
    def pictures(self, named: dict[str, list[Image | Audio]]) -> dict[str, list[Image | Audio]]:
        return named

    @post
    def either(
        self, one: Image | Text | None, two: int | str | list[int]
    ) -> tuple[Image | Text | None, int | str | list[int]]:
        return one, two

    @post
    def any_kind(self, doc: Doc) -> Doc:
        return doc

    @post
    def literal(self, value: Literal["a", 1, None]) -> Literal["a", 1, None]:
        return value

    @post
    def sets(self, values: set[int], names: frozenset[str]) -> tuple[set[int], frozenset[str]]:
        return values, names

    @post
    def tuples(self, pair: tuple[int, Text], many: tuple[float, ...]) -> tuple[tuple[int, Text], tuple[float, ...]]:
        return pair, many

    @post
    def point(self, value: Point) -> Point:
        return value

    @post
    def huge(self, count: Annotated[int, Field(lt=2**63)] = 2**62) -> int:
        return count

    @post
    def unsaid(self, doc: Text):  # type: ignore[no-untyped-def]
        return {"doc": doc, "n": 1, "tensor": Tensor(value=b"\1\2", dtype="uint8", shape=(2,))}

    @post
    def nothing(self) -> None:
        return None


@pytest.fixture
def url() -> Iterator[str]:
    with Library() as library:
        yield library.start(HERE)[0]


@pytest.fixture(params=["json", "msgpack"])
def client(url: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client that knows nothing but the URL."""
    with Executor(f"{url}/library") as found:
        yield lambda on, **arguments: found.post(on=on, codec=request.param, **arguments)


@pytest.fixture
def described(url: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    connection.request("GET", "/openapi.json")
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert (response.status, response.getheader("content-type")) == (200, "application/json")
    return dict(json.loads(body))


# OpenAPI


def test_the_description_is_valid_openapi_3_1(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1")
    assert judging.faults_of_openapi(described) == []


def test_no_number_in_it_is_one_that_readers_of_json_do_not_know(described: dict[str, Any]) -> None:
    def numbers(value: Any) -> Iterator[Any]:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for one in inner:
            yield from numbers(one)
        if isinstance(value, int | float):
            yield value

    assert all(
        math.isfinite(number) and (isinstance(number, float) or -(2**63) <= number < 2**63)
        for number in numbers(described)
    )


def test_every_endpoint_stands_there_with_its_schemas(described: dict[str, Any]) -> None:
    assert set(described["paths"]) == {f"/library/{name}" for name in vars(Library) if not name.startswith("_")}
    for path in described["paths"].values():
        operation = path["post"]
        assert "schema" in operation["requestBody"]["content"]["application/json"]
        assert "schema" in operation["responses"]["200"]["content"]["application/json"]


def test_parameters_show_defaults_limits_and_examples(described: dict[str, Any]) -> None:
    operation = described["paths"]["/library/read"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]

    assert (operation["summary"], operation["description"]) == ("Read a page.", "Slowly, line by line.")
    assert body["required"] == ["doc"]
    assert body["additionalProperties"] is False
    score = body["properties"]["min_score"]
    assert (score["default"], score["minimum"], score["maximum"]) == (0.5, 0, 1)
    assert (score["description"], score["examples"]) == ("Between none and all.", [0.25])
    assert body["properties"]["language"]["default"] == "en"
    assert body["properties"]["limit"]["default"] == "Infinity"
    assert body["properties"]["colour"]["default"] == "red"
    assert body["properties"]["doc"] == {"$ref": "#/components/schemas/Image"}


def test_operations_of_several_executors_have_ids_of_their_own() -> None:
    class A(Executor):
        @post(name="b_c")
        def first(self) -> int:
            return 1

    class AB(Executor):
        @post
        def c(self) -> int:
            return 2

    document = described_together(A(), AB(name="a_b"))
    ids = [path["post"]["operationId"] for path in document["paths"].values()]
    assert len(set(ids)) == 2
    assert judging.faults_of_openapi(document) == []


def test_models_of_one_name_are_kept_apart() -> None:
    def made(name: str, kind: Any) -> Executor:
        class Result(ComboDoc):
            value: kind

        def run(self: Any, given: Result) -> Result:
            return given

        run.__annotations__ = {"given": Result, "return": Result}
        return type("Made", (Executor,), {"run": post(run)})(name=name)  # type: ignore[no-any-return]

    document = described_together(made("first", int), made("second", Text))
    assert judging.faults_of_openapi(document) == []
    replies = [
        path["post"]["responses"]["200"]["content"]["application/json"]["schema"] for path in document["paths"].values()
    ]
    assert replies[0] != replies[1]


def test_two_executors_of_one_class_are_described() -> None:
    document = described_together(Library(), Library(name="second"))
    assert judging.faults_of_openapi(document) == []
    paths = document["paths"]
    assert paths["/library/read"]["post"]["requestBody"] == paths["/second/read"]["post"]["requestBody"]


def described_together(*executors: Executor) -> dict[str, Any]:
    return dict(json.loads(Site(tuple(executor._xooai_local() for executor in executors)).describe("openapi")))


def test_a_default_that_cannot_be_written_is_left_out_of_the_description() -> None:
    class Sentinel(Executor):
        @post
        def run(self, value: int = object()) -> bool:  # type: ignore[assignment]
            return isinstance(value, int)

    document = described_together(Sentinel())
    schema = document["paths"]["/sentinel/run"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "default" not in schema["properties"]["value"]
    assert "required" not in schema
    assert Sentinel().post(on="run") is False


# A client without the class


def test_types_of_documents_survive(client: Any) -> None:
    assert client("read", doc=Image(value=PNG), min_score=0.75, language="de") == Text(value="10 0.75 de")
    for doc in (Text(value="x"), Image(value=PNG), Tensor(value=b"\1\2", dtype="uint8", shape=(2,))):
        assert client("any_kind", doc=doc) == doc


def test_types_of_combo_docs_survive(client: Any) -> None:
    page = Page(scan=Image(value=PNG), caption=Text(value="c"), marks=[Text(value="t"), Image(value=b"i")])

    for given in (page, {"scan": page.scan, "caption": page.caption, "marks": page.marks}):
        found = client("page", page=given)
        assert (found.scan, found.caption, found.marks) == (page.scan, page.caption, page.marks)
        assert type(found).__name__ == "Page"
        assert isinstance(found, ComboDoc)
        assert list(found.iter_docs()) == list(page.iter_docs())


def test_a_reply_may_be_sent_again(client: Any) -> None:
    page = client("page", page=Page(scan=Image(value=PNG)))
    assert client("page", page=page) == page


def test_types_of_a_tree_survive(client: Any) -> None:
    leaf = Tree(leaf=Image(value=PNG))
    tree = Tree(
        leaf=Image(value=b"root"), branches=[leaf, Tree(leaf=Image(value=b"deep"), branches=[leaf])], named={"a": leaf}
    )

    found = client("tree", tree=tree)

    assert found.model_dump() == tree.model_dump()
    assert [doc.read() for doc in found.iter_docs()] == [doc.read() for doc in tree.iter_docs()]


def test_types_of_time_survive(client: Any) -> None:
    given = {
        "at": datetime.datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=datetime.UTC),
        "day": datetime.date(2024, 2, 29),
        "hour": datetime.time(23, 59),
        "span": datetime.timedelta(days=1, seconds=0.5),
    }
    assert client("moments", **given) == tuple(given.values())


def test_ids_decimals_and_bytes_survive(client: Any) -> None:
    given = {"id": uuid.uuid4(), "price": Decimal("10.50"), "data": bytes(range(256))}
    assert client("exact", **given) == tuple(given.values())
    assert str(client("exact", **given)[1]) == "10.50"


def test_dicts_survive_with_their_keys(client: Any) -> None:
    prices = {datetime.date(2024, 1, 1): Decimal("1.10")}
    pictures = {"a": [Image(value=PNG), Audio(value=b"RIFF")], "b": []}
    assert client("prices", by_day=prices) == prices
    assert client("counted", by_number={-1: "a", 2: "b"}) == {-1: "a", 2: "b"}
    assert client("pictures", named=pictures) == pictures


def test_unions_literals_sets_and_tuples_survive(client: Any) -> None:
    for one, two in ((Image(value=PNG), 1), (Text(value="t"), "1"), (None, [1])):
        assert client("either", one=one, two=two) == (one, two)
    for value in ("a", 1, None):
        assert client("literal", value=value) == value
    assert client("sets", values={1, 2}, names=frozenset("ab")) == ({1, 2}, {"a", "b"})
    # JSON Schema does not tell a tuple of any length from a list.
    assert client("tuples", pair=(1, Text(value="x")), many=(0.5, math.inf)) == ((1, Text(value="x")), [0.5, math.inf])


def test_a_reply_without_annotation_has_its_documents(client: Any) -> None:
    doc = Text(value="x")
    assert client("unsaid", doc=doc) == {"doc": doc, "n": 1, "tensor": Tensor(value=b"\1\2", dtype="uint8", shape=(2,))}
    assert client("nothing") is None


def test_fields_with_names_that_no_class_has_arrive(client: Any) -> None:
    given: dict[str, Any] = {"json": 1, "content-type": Text(value="x"), "from": "y", "_private": 2, "model_config": 3}
    found = client("odd", odd=given)
    assert found.model_dump(by_alias=True) == Odd(**given).model_dump(by_alias=True)
    assert client("odd", odd=found) == found


def test_fields_beyond_the_named_ones_arrive_where_they_are_allowed(client: Any) -> None:
    found = client("open_record", record={"name": "n", "more": [1]})
    assert (found.name, found.more) == ("n", [1])


def test_the_description_travels_whatever_limits_the_types_have(client: Any) -> None:
    assert client("huge") == 2**62
    assert client("huge", count=7) == 7


def test_the_executor_may_be_left_out_where_a_server_has_one(url: str) -> None:
    with Executor(url) as found:
        assert found.post(on="nothing") is None
        assert found.name == "library"


def test_an_unknown_executor_lists_the_known_ones(url: str) -> None:
    with (
        Executor(f"{url}/libary") as found,
        pytest.raises(NotFound, match="no executor 'libary'; did you mean 'library'.*library"),
    ):
        found.post(on="nothing")


def test_endpoints_that_came_with_a_restart_are_found() -> None:
    """The description is asked for again before an endpoint is said not to be there."""

    class First(Executor):
        @post
        def old(self) -> int:
            return 1

    class Second(Executor):
        @post
        def new(self) -> int:
            return 2

    with ExitStack() as stack:
        first, second = stack.enter_context(First(name="same")), stack.enter_context(Second(name="same"))
        bound = first.start(HERE)[0]
        client = stack.enter_context(Executor(f"{bound}/same"))
        assert client.post(on="old") == 1
        first.stop()
        second.start(bound)
        assert client.post(on="new") == 2
        with pytest.raises(NotFound, match="'old'.*new"):
            client.post(on="old")


# Broken and hostile descriptions


AMBIGUOUS = {"anyOf": [{"type": "string"}, {"type": "string", "format": "date-time"}]}


def read(endpoints: Any, shared: Any = None) -> Any:
    return executors_from({"xooai": 1, "executors": {"e": endpoints}, "$defs": shared or {}}, "http://host")["e"]


@pytest.mark.parametrize(
    "description",
    [
        None,
        1,
        "x",
        [],
        {},
        {"executors": None},
        {"executors": []},
        {"executors": {"e": None}},
        {"executors": {"e": [1]}},
    ],
    ids=str,
)
def test_what_is_no_description_is_one_clear_error(description: Any) -> None:
    with pytest.raises(XooaiError, match="http://host.*description"):
        executors_from(description, "http://host")


@pytest.mark.parametrize(
    "described",
    [
        None,
        3,
        {},
        {"body": None, "reply": None},
        {"body": [], "reply": [1]},
        {"body": {"properties": [], "required": 5}},
        {"body": {"properties": {"a": None}, "required": [["a"]]}, "shape": "SPIRAL", "summary": 5},
        {"body": {"properties": {"a": {"type": ["string", "null"]}}}},
        {"body": {"properties": {"a": {"type": "array", "items": 5}}}},
        {"body": {"properties": {"a": {"type": "array", "prefixItems": "ab", "maxItems": 2}}}},
        {"body": {"properties": {"a": {"type": "array", "uniqueItems": True, "items": {"type": "array"}}}}},
        {"body": {"properties": {"a": {"type": "object", "properties": {"x": 5}}}}},
        {"body": {"properties": {"a": {"type": "object", "properties": {"x": {}}, "required": 3, "title": 5}}}},
        {"body": {"properties": {"a": {"anyOf": 5}}}},
        {"body": {"properties": {"a": {"anyOf": [5, None]}}}},
        {"body": {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "string", "format": "date-time"}]}}}},
        {"body": {"properties": {"a": {"enum": [[1], {}]}}}},
        {"body": {"properties": {"a": {"enum": []}}}},
        {"body": {"properties": {"a": {"const": {}}}}},
        {"body": {"properties": {"a": {"$ref": "#/$defs/Missing"}}}},
        {"body": {"properties": {"a": {"$ref": 5}}}},
        {"body": {"properties": {"a": {"$ref": "#/$defs/Loop"}}}},
        {"body": {"properties": {"a": {"$ref": "#/$defs/Ping"}}}},
        {"body": {"properties": {"__class__": {"type": "string"}, "self": {}, "": {}}}},
        {"body": {"properties": {"a": {"type": "object", "properties": {"kind": {"const": 5}, "ref": {}}}}}},
        {"body": {"properties": {"a": {"type": "object", "properties": {"kind": {"const": "nonesuch"}, "ref": {}}}}}},
        {"body": {"properties": {"a": {"type": "object", "title": "__import__('os')", "properties": {"x": {}}}}}},
        {"body": {"properties": {"a": {"type": "string", "pattern": "("}}}},
        {"body": {"properties": {"a": {"type": "object", "properties": {"x": AMBIGUOUS}}}}},
        {"body": {"properties": {"a": {"$ref": "#/$defs/Knot"}}}},
        {"reply": AMBIGUOUS},
        {"reply": {"$ref": "#/$defs/Knot"}},
    ],
    ids=lambda described: json.dumps(described)[:60],
)
def test_what_cannot_be_understood_is_untyped(described: Any) -> None:
    shared = {
        "Loop": {"$ref": "#/$defs/Loop"},
        "Ping": {"type": "array", "items": {"$ref": "#/$defs/Pong"}},
        "Pong": {"anyOf": [{"$ref": "#/$defs/Ping"}, {"type": "null"}]},
        "Knot": {"type": "object", "properties": {"again": {"$ref": "#/$defs/Knot"}, "x": AMBIGUOUS}},
    }
    endpoint = read({"run": described}, shared)["run"]
    assert endpoint.name == "run"
    assert endpoint.result.validator.validate_json(b'{"free": [1]}') is not None


def test_one_endpoint_that_cannot_be_understood_does_not_hide_the_others() -> None:
    good = {"body": {"properties": {"n": {"type": "integer"}}, "required": ["n"]}, "reply": {"type": "integer"}}
    endpoints = read({"bad": {"body": 5, "reply": 7}, "good": good})
    assert list(endpoints) == ["bad", "good"]
    assert endpoints["good"].parameters["n"].annotation is int
    assert endpoints["good"].result.annotation is int


def test_a_description_that_is_nested_without_end_is_read_in_time() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        deep = {"type": "array", "items": deep}
    doubling = {f"D{n}": {"anyOf": [{"$ref": f"#/$defs/D{n + 1}"}, {"$ref": f"#/$defs/D{n + 1}"}]} for n in range(60)}
    endpoint = read({"run": {"body": {"properties": {"a": deep, "b": {"$ref": "#/$defs/D0"}}}}}, doubling)["run"]
    assert set(endpoint.parameters) == {"a", "b"}


def test_names_of_a_peer_become_no_attributes_of_python() -> None:
    names = [
        "model_config",
        "__init__",
        "model_fields",
        "copy",
        "class",
        "x y",
        "_x",
        "é",
        "__class__",
        "model_dump",
        "iter_docs",
        "",
    ]
    schema = {"type": "object", "properties": {name: {"type": "integer"} for name in names}, "required": names}
    endpoint = read({"run": {"reply": schema}})["run"]
    found = endpoint.result.validator.validate_python(dict.fromkeys(names, 1))
    assert found.model_dump(by_alias=True) == dict.fromkeys(names, 1)
    assert type(found).__init__ is ComboDoc.__init__
    assert callable(found.copy)


class Promise(Executor):
    @post
    async def run(self) -> int:
        return 1


class Broken(Executor):
    @post
    async def run(self) -> str:
        return "no number"


def test_a_reply_that_is_not_as_declared_is_the_servers_failure() -> None:
    """Whoever asked did nothing wrong, and learns what came instead."""
    with Broken(name="promise") as broken, Promise.at(broken.start(HERE)[0]) as client:
        said = "/promise/run answered with what it does not return: .*integer"
        with pytest.raises(Internal, match=said):
            client.post()


def test_no_other_form_of_description_is_made_up() -> None:
    with pytest.raises(Unimplemented, match="'wsdl'; there are: openapi, proto, json"):
        Site((Library()._xooai_local(),)).describe("wsdl")  # type: ignore[arg-type]


def test_a_server_that_is_none_of_ours_is_one_clear_error() -> None:
    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = b"<html>welcome</html>"
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            with (
                Executor(f"http://127.0.0.1:{server.server_port}/x") as client,
                pytest.raises(XooaiError, match="text/html"),
            ):
                client.post(on="run")
        finally:
            server.shutdown()


def test_an_argument_that_the_description_refuses_is_refused_by_the_server(client: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client("read", doc=Image(value=PNG), min_score=7)
    assert [mistake["loc"] for mistake in caught.value.errors] == [("min_score",)]
