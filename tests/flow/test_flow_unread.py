"""What goes from node to node elsewhere goes as the bytes that came: nobody on the way reads or checks it."""

from __future__ import annotations

import http.client
import json
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from counting import PNG
from xooai import ComboDoc, Executor, File, Flow, Image, Internal, InvalidArgument, Text, post
from xooai.call import Call, Layer, Service
from xooai.codec import codec_of
from xooai.flow.unread import answered, packed
from xooai.origin import STRANGER
from xooai.untyped import untyped

Words = dict[str, str]
ODD = {
    "json": b'{ "a" :\t"b" }',
    "msgpack": b"\x81\xdb\x00\x00\x00\x01a\xdb\x00\x00\x00\x01b",  # both texts with a length of four bytes
}
"""{"a": "b"}, as none of our encoders writes it."""


class Page(ComboDoc):
    one: Words
    other: Words = {}


class There(Executor):
    @post
    def give(self, doc: Text) -> Words:
        return {"a": doc.read()}

    @post
    def other(self, doc: Text) -> Words:
        return {"a": doc.read()}

    @post
    def two(self, doc: Text, width: int = 1) -> Words:
        return {"a": doc.read()[:width]}

    @post
    def number(self, doc: Text) -> int:
        return 5

    @post
    def first(self, words: Words, mark: str = "") -> Words:
        return words

    @post
    def named(self, one: Words, other: Words | None = None) -> Words:
        return one

    @post
    def listed(self, all: list[Words]) -> Words:
        return all[0]

    @post
    def page(self, page: Page) -> Words:
        return page.one


class Wire:
    """Layers of a server that see what comes, and change what goes."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.replies: dict[str, bytes] = {}
        self.media_types: dict[str, str] = {}

    def layer(self, service: Service) -> Service:
        async def answer(call: Call) -> None:
            frame = await call.receive()
            assert frame is not None
            if call.head.path.startswith("/there/"):
                self.came.append(frame)
            call.receive = partial(_ready, frame)  # type: ignore[method-assign]
            await service(call)
            odd = self.replies.get(call.endpoint.name)
            if odd is not None:
                call.reply = odd
            call.reply_codec = self.media_types.get(call.endpoint.name, call.reply_codec)

        return answer


async def _ready(frame: bytes) -> bytes:
    return frame


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture(params=["http://127.0.0.1:0", "grpc://127.0.0.1:0", "memory://there"])
def there(request: pytest.FixtureRequest, wire: Wire) -> Iterator[str]:
    """A server whose replies are odd, and which tells what came."""
    if request.param.startswith("http:"):
        pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    if request.param.startswith("grpc:"):
        pytest.importorskip("grpc", reason="serving needs grpcio; it comes with: pip install -e '.[grpc]'")
    layer: Layer = wire.layer
    with There(layers=(layer,)) as executor:
        (url,) = executor.start(request.param)
        yield f"{url}/there"


one_place = pytest.mark.parametrize("there", ["memory://there"], indirect=True)

BOUND: dict[str, Callable[[Flow, str], Flow]] = {
    "first": lambda f, there: f.add(use=there, on="first", id="end", needs="one"),
    "named": lambda f, there: f.add(use=there, on="named", id="end", needs=("one", "other")),
    "listed": lambda f, there: f.add(use=there, on="listed", id="end", needs=("one", "other")),
    "page": lambda f, there: f.add(use=there, on="page", id="end", needs=("one", "other")),
}


def bound(f: Flow, there: str, rule: str) -> Flow:
    f.add(use=there, on="give", id="one")
    if rule in ("named", "listed", "page"):
        f.add(use=there, on="other", id="other")
    return BOUND[rule](f, there)


@pytest.mark.parametrize("codec", ODD)
@pytest.mark.parametrize("rule", BOUND)
def test_a_reply_goes_on_as_the_bytes_that_came(wire: Wire, there: str, rule: str, codec: str) -> None:
    with bound(Flow(name="f"), there, rule) as f:
        f.start("memory://flow")
        with Executor("memory://flow/f") as client:
            assert client.post(doc=Text(value="b"), codec=codec) == {"a": "b"}
            wire.replies = dict.fromkeys(("give", "other", rule), ODD[codec])
            assert client.post(doc=Text(value="b"), codec=codec) == {"a": "b"}

    assert wire.came[-1].count(ODD[codec]) == (1 if rule == "first" else 2)


@one_place
def test_a_reply_goes_on_as_it_came_beside_constants(wire: Wire, there: str) -> None:
    wire.replies = {"give": ODD["msgpack"]}
    with Flow().add(use=there, on="give", id="one") as f:
        f.add(use=there, on="first", id="end", needs="one", args={"mark": "!"})
        assert f.post(doc=Text(value="b")) == {"a": "b"}

    assert ODD["msgpack"] in wire.came[-1]


def test_a_flow_within_the_process_passes_replies_on_unread_too(wire: Wire, there: str) -> None:
    wire.replies = {"give": ODD["msgpack"], "first": ODD["msgpack"]}
    with bound(Flow(), there, "first") as f:
        assert f.post(doc=Text(value="b")) == {"a": "b"}
        assert f.run(doc=Text(value="b")).replies == {"one": {"a": "b"}, "end": {"a": "b"}}

    assert ODD["msgpack"] in wire.came[1]


def _posted(url: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    to = urlsplit(url)
    connection = http.client.HTTPConnection(str(to.hostname), to.port)
    try:
        connection.request("POST", to.path, body, {"content-type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_request_and_result_of_a_served_flow_go_as_they_came(
    wire: Wire, there: str, serve: Callable[[Any], str]
) -> None:
    wire.replies = {"give": ODD["json"], "first": ODD["json"]}
    url = serve(bound(Flow(name="f"), there, "first"))
    request = b'{ "doc" : {"value":\t"b"} }'

    assert _posted(f"{url}/call", request) == (200, ODD["json"])
    assert wire.came[0] == request


@one_place
def test_the_results_of_several_nodes_go_as_they_came(wire: Wire, there: str, serve: Callable[[Any], str]) -> None:
    wire.replies = {"give": ODD["json"], "other": ODD["json"]}
    f = Flow(name="f").add(use=there, on="give", id="one").add(use=there, on="other", id="other")

    assert _posted(f"{serve(f)}/call", b'{"doc":{"value":"b"}}') == (
        200,
        b'{"one":' + ODD["json"] + b',"other":' + ODD["json"] + b"}",
    )


@one_place
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" , ", " : ")])
@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_each_node_gets_its_part_of_the_input(
    wire: Wire, there: str, serve: Callable[[Any], str], codec: str, separators: tuple[str, str]
) -> None:
    f = Flow(name="f").add(use=there, on="give", id="one").add(use=there, on="two", id="two")
    url = serve(f)
    if codec == "msgpack":
        with Executor(url) as client:
            found = client.post(doc=Text(value="abc"), width=2)
    else:
        status, body = _posted(
            f"{url}/call", json.dumps({"doc": {"value": "abc"}, "width": 2}, separators=separators).encode()
        )
        assert status == 200
        found = json.loads(body)

    assert found == {"one": {"a": "abc"}, "two": {"a": "ab"}}


KEPT = "store:xooai/sha256:" + "0" * 64 + "?g=1.0"


@one_place
@pytest.mark.parametrize(
    "written",
    [KEPT, KEPT.replace("s", "\\u0073", 1), KEPT.replace("/", "\\/"), KEPT.replace("x", "\\u0078", 1)],
    ids=["plainly", "with an escaped letter", "with an escaped slash", "with another escaped letter"],
)
def test_what_a_server_keeps_is_asked_for_by_no_other_in_the_name_of_the_flow(
    wire: Wire, there: str, serve: Callable[[Any], str], written: str
) -> None:
    url = serve(Flow(name="f").add(use=there, on="give", id="one"))
    status, _ = _posted(f"{url}/call", b'{"doc":{"ref":"%b"}}' % written.encode())

    assert status != 200
    assert wire.came == []


BAD = {
    "no JSON": (b"{", 400),
    "no object": (b"[1]", 422),
    "one argument too many": (b'{"doc":{"value":"b"},"what":1}', 422),
    "one too few": (b'{"width":1}', 422),
    "one twice": (b'{"doc":{"value":"b"},"doc":{"value":"c"}}', 400),
    "of another type": (b'{"doc":5}', 422),
    "too deep": (b'{"doc":' + b"[" * 100 + b"]" * 100 + b"}", 400),
}


@one_place
@pytest.mark.parametrize("mistake", BAD)
@pytest.mark.parametrize("is_split", [True, False])
def test_a_mistake_in_the_input_is_the_callers(
    there: str, serve: Callable[[Any], str], mistake: str, is_split: bool
) -> None:
    f = Flow(name="f").add(use=there, on="two", id="two")
    if is_split:
        f.add(use=there, on="give", id="one")
    body, status = BAD[mistake]
    found, answer = _posted(f"{serve(f)}/call", body)

    assert found == status, answer
    assert json.loads(answer)["title"] == "INVALID_ARGUMENT"


@one_place
def test_what_one_node_gives_wrongly_to_the_next_is_not_the_callers_mistake(wire: Wire, there: str) -> None:
    wire.replies = {"give": b"\x93\x01\x02\x03"}  # a list
    with bound(Flow(name="f"), there, "first") as f:
        f.start("memory://flow")
        with Executor("memory://flow/f") as client, pytest.raises(Internal, match="'end'.*given of 'one'"):
            client.post(doc=Text(value="b"))


@one_place
def test_a_reply_that_is_not_what_it_should_be_is_told_of_who_gave_it(wire: Wire, there: str) -> None:
    wire.replies = {"give": b"\x93\x01\x02\x03"}

    def local(words: Words) -> int:
        return len(words)

    for f in (
        Flow().add(use=there, on="give", id="one").add(use=local, id="local", needs="one"),
        Flow().add(use=there, on="give", id="one"),
    ):
        with f, pytest.raises(Internal, match=r"node 'one' .* answered with what it does not return"):
            f.post(doc=Text(value="b"))


FORGED = {
    "json with another argument": b'{"a":"b"},"mark":"forged"',
    "json that is cut": b'{"a":"b"',
    "json that is empty": b"",
    "json that is no utf-8": b'{"a":"\xff"}',
    "json without an end": b"[" * 100_000,
    "json of a number that is none": b"NaN",
    "json of half a character": b'{"a":"\\ud800"}',
    "msgpack with another argument": b"\x81\xa1a\xa1b\xa4mark\xa6forged",
    "msgpack that takes in what follows": b"\x81\xa1a\xa1b\xa4mark\xac",
    "msgpack that is cut": b"\x82\xa1a\xa1b",
    "msgpack without an end": b"\x91" * 100_000,
}
"""No replies at all, but what would change the request that they are put into."""


@one_place
@pytest.mark.parametrize("given", FORGED)
@pytest.mark.parametrize("rule", ["first", "named", "listed", "page", "alone", "several"])
def test_what_is_no_value_is_put_into_nothing(wire: Wire, there: str, rule: str, given: str) -> None:
    wire.replies = {"give": FORGED[given]}
    f = Flow(name="f")
    if rule in BOUND:
        bound(f, there, rule)
    else:
        f.add(use=there, on="give", id="one")
    if rule == "several":
        f.add(use=there, on="other", id="other")
    with f:
        f.start("memory://flow")
        with Executor("memory://flow/f") as client, pytest.raises(Internal, match="'one'.*what it does not return"):
            client.post(doc=Text(value="b"), codec=given.split(maxsplit=1)[0])

    assert len(wire.came) <= (1 if rule in ("first", "alone") else 2)  # the node after was not called


@one_place
@pytest.mark.parametrize("media_type", ["text/plain", "image/png", ""])
def test_a_reply_that_is_of_no_codec_is_the_mistake_of_who_gave_it(wire: Wire, there: str, media_type: str) -> None:
    wire.media_types = {"give": media_type}
    with Flow(name="f").add(use=there, on="give", id="one") as f, pytest.raises(Internal, match="'one'.*is not known"):
        f.post(doc=Text(value="b"))


@one_place
@pytest.mark.parametrize("rule", ["first", "named"])
@pytest.mark.parametrize("given", [b'{"a":"b","a":"c"}', b"[" * 100 + b"]" * 100], ids=["a name twice", "too deep"])
def test_what_the_next_node_cannot_read_is_told_of_who_gave_it(wire: Wire, there: str, rule: str, given: bytes) -> None:
    wire.replies = {"give": given}
    with bound(Flow(name="f"), there, rule) as f:
        f.start("memory://flow")
        with (
            Executor("memory://flow/f") as client,
            pytest.raises(Internal, match="node 'one' answered with what it does not return"),
        ):
            client.post(doc=Text(value="b"), codec="json")


@one_place
def test_an_optional_node_that_answers_wrongly_has_failed(wire: Wire, there: str) -> None:
    wire.replies = {"give": b"\x93\x01\x02\x03"}

    def local(one: Words | None = None) -> str:
        return "without" if one is None else "with"

    with Flow().add(use=there, on="give", id="one", optional=True) as f:
        f.add(use=local, id="local", needs="one")
        assert f.post(doc=Text(value="b")) == "without"


@one_place
def test_a_condition_and_a_join_see_values(there: str) -> None:
    f = Flow().add(use=there, on="give", id="one").add(use=there, on="number", id="number")
    f.add(use=there, on="first", id="when", needs="one", when=lambda one: one == {"a": "b"})
    f.add(
        use=there, on="first", id="join", needs=("one", "number"), join=lambda one, number: {"a": f"{one['a']}{number}"}
    )
    with f:
        assert f.post(doc=Text(value="b")) == {"when": {"a": "b"}, "join": {"a": "b5"}}


@one_place
def test_an_argument_that_a_node_refuses_stays_the_callers_mistake(there: str) -> None:
    with Flow(name="f").add(use=there, on="two", id="two") as f:
        f.start("memory://flow")
        with Executor("memory://flow/f") as client, pytest.raises(InvalidArgument, match="two"):
            client.post(doc=Text(value="b"), width="wide")


class Files(Executor):
    place: Path | None = None

    @post
    def same(self, doc: File) -> File:
        return doc

    @post
    def picture(self, doc: Image) -> Image:
        return doc

    @post
    def large(self, doc: File) -> File:
        return File(ref=str(self.place))

    @post
    def size(self, doc: File) -> int:
        return len(doc.read())


@pytest.mark.parametrize("codec", ODD)
def test_what_a_server_keeps_itself_is_read_by_another_one(
    serve: Callable[[Any], str], tmp_path: Path, codec: str
) -> None:
    one, other = Files(name="one"), Files(name="other")
    one.place = tmp_path / "large"
    one.place.write_bytes(bytes(400_000))
    (first, second) = serve(one), serve(other)
    f = Flow(name="f").add(use=f"{first}/large", id="a").add(use=f"{first}/same", id="b", needs="a")
    f.add(use=f"{second}/same", id="c", needs="b").add(use=f"{second}/size", id="size", needs="c")
    with Executor(f"{serve(f)}") as client:
        assert client.post(doc=File(value=bytes(300_000)), codec=codec) == 400_000


@pytest.mark.parametrize("accept", ["image/*", "application/json"])
def test_a_picture_goes_in_and_out_of_a_served_flow_as_it_is(serve: Callable[[Any], str], accept: str) -> None:
    there = serve(Files(name="files"))
    f = Flow(name="f").add(use=f"{there}/picture", id="a").add(use=f"{there}/picture", id="b", needs="a")
    status, body = _posted(f"{serve(f)}/call", PNG, accept=accept, **{"content-type": "image/png"})

    assert status == 200
    assert body == PNG if accept == "image/*" else Image.model_validate_json(body).value == PNG


class Untyped(Executor):
    @post
    def text(self, doc: str = "") -> Text:
        return Text(value=doc)

    @post
    def kind(self, doc: Any) -> str:
        return type(doc).__name__


def test_a_document_goes_nowhere_as_plain_data(put: Callable[[Executor], dict[str, Any]]) -> None:
    used = put(Untyped())
    with Flow().add(**used, on="text", id="text").add(**used, on="kind", id="kind", needs="text") as f:
        for run in (f.post, f.run):
            with pytest.raises(Internal, match="'kind' .* takes JSON values only, got Text; annotate it with the type"):
                run()


@pytest.mark.parametrize("media_type", ["application/json", "application/msgpack"])
def test_a_large_reply_is_copied_once_on_its_way_into_a_request(media_type: str) -> None:
    codec, size = codec_of(media_type), 4 * 1024 * 1024
    frame = codec.encode(untyped(), "x" * size)
    tracemalloc.start()
    try:
        reply = answered(frame, media_type, untyped(), STRANGER, ("server", "node"))
        request = packed({"doc": msgspec.Raw(reply.frame)}, codec)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert frame in request.frame
    assert most < 2 * size
