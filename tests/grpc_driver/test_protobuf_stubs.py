"""Stubs that protoc makes of an exported file call a running server, and get what the same program gives in process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import grpc
import pytest
from protobuf_kit import PAGE, Kit
from stubs import HERE, compiled, exported

from xooai import Image

SOON = 30  # seconds: far more than any call here takes


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, ModuleType]:
    text = exported(f"{HERE / 'protobuf_kit.py'}:Kit")
    return compiled(text, "kit_by_protoc", tmp_path_factory.mktemp("protoc"))


@pytest.fixture
def pb(modules: tuple[ModuleType, ModuleType]) -> Any:
    return modules[0]


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit() as made:
        yield made


@pytest.fixture
def channel(kit: Kit) -> Iterator[Any]:
    (url,) = kit.start("grpc://127.0.0.1:0")
    with grpc.insecure_channel(url.removeprefix("grpc://")) as made:
        yield made


@pytest.fixture
def stub(channel: Any, modules: tuple[ModuleType, ModuleType]) -> Any:
    return modules[1].KitStub(channel)


def details(error: Any) -> Any:
    """What is beside the status."""
    return json.loads(dict(error.trailing_metadata())["xooai-error-bin"])


# All shapes


def test_a_unary_call_gives_the_same_as_in_process(kit: Kit, stub: Any, pb: Any) -> None:
    image = pb.Image(value=b"GIF89a", media_type="image/gif")

    assert stub.Read(pb.ReadRequest(doc=image), timeout=SOON).value == "6 bytes over 0.5"
    assert stub.Read(pb.ReadRequest(doc=image, min_score=0), timeout=SOON).value == "6 bytes over 0.0"
    assert kit.post(on="read", doc=Image(value=b"GIF89a")).read() == "6 bytes over 0.5"


def test_a_reply_that_is_no_document_is_the_value_of_a_message(stub: Any, pb: Any) -> None:
    assert stub.Add(pb.AddRequest(x=2**62, y=2**62 - 1), timeout=SOON).value == 2**63 - 1
    assert stub.Add(pb.AddRequest(), timeout=SOON).value == 0
    assert stub.Nothing(pb.NothingRequest(), timeout=SOON) == pb.NothingReply()


def test_replies_stream(stub: Any, pb: Any) -> None:
    assert [reply.value for reply in stub.Count(pb.CountRequest(n=4), timeout=SOON)] == [0, 1, 2, 3]


def test_an_error_after_items_comes_after_them(stub: Any, pb: Any) -> None:
    replies = stub.Count(pb.CountRequest(n=3), timeout=SOON)

    assert [next(replies).value for _ in range(3)] == [0, 1, 2]
    with pytest.raises(grpc.RpcError, match="no more") as raised:
        next(replies)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_requests_stream_and_their_first_has_the_parameters(stub: Any, pb: Any) -> None:
    items = [pb.JoinRequest(doc=pb.Text(value=text)) for text in "abc"]

    assert stub.Join(iter(items), timeout=SOON).value == "a,b,c"
    assert stub.Join(iter([pb.JoinRequest(sep="-"), *items]), timeout=SOON).value == "a-b-c"
    assert stub.Join(iter([pb.JoinRequest(sep="-", doc=pb.Text(value="a")), *items]), timeout=SOON).value == "a-a-b-c"
    assert stub.Join(iter([]), timeout=SOON).value == ""


def test_items_may_be_numbers_and_null(stub: Any, pb: Any) -> None:
    items = [pb.TotalRequest(number=pb.OptionalInt64(value=value)) for value in (1, 0, None)]

    assert stub.Total(iter(items), timeout=SOON).value == 1.5


def test_both_sides_stream_in_lock_step_and_the_server_speaks_first(stub: Any, pb: Any) -> None:
    requests: SimpleQueue[Any] = SimpleQueue()
    replies = stub.Talk(iter(requests.get, None), timeout=SOON)

    assert next(replies).value == "hello"
    for text in ("a", "b"):
        requests.put(pb.TalkRequest(doc=pb.Text(value=text)))
        assert next(replies).value == text.upper()
    requests.put(None)
    assert list(replies) == []


def test_a_stream_each_way_takes_parameters(stub: Any, pb: Any) -> None:
    items = [pb.RepeatRequest(times=2), *(pb.RepeatRequest(doc=pb.Text(value=text)) for text in "ab")]

    assert [reply.value for reply in stub.Repeat(iter(items), timeout=SOON)] == ["aa", "bb"]


# Values


def page(pb: Any) -> Any:
    """The same page, as somebody writes it who has the .proto file only."""
    value = pb.Value
    listed = pb.ValueList(
        value=[value(integer=1), value(number=2), value(), value(boolean=True), value(string="x"), value(object={})]
    )
    anything = value(object=pb.ValueMap(value={"list": value(list=listed)}))
    return pb.Page(
        title="ä",
        score=0.1,
        is_final=True,
        content=b"\xff\x00",
        scan=pb.Image(value=b"GIF89a", media_type="image/gif"),
        day="2024-02-29",
        id="00000000-0000-0000-0000-000000000007",
        price="1.10",
        colour=pb.COLOUR_DARK_BLUE,
        side=pb.PAGE_SIDE_RIGHT,
        limit=pb.OptionalInt64(),
        tags=["x", ""],
        words=pb.StringList(),
        box=pb.PageBox(item_1=3, item_2=-4),
        cells={"a": pb.Cell(row=1, text="none"), "": pb.Cell(row=-1, text="")},
        rows=[pb.Int64List(value=[1]), pb.Int64List(), pb.Int64List(value=[2**63 - 1, -(2**63)])],
        parts=[pb.TextOrAudio(text=pb.Text(value="t")), pb.TextOrAudio(audio=pb.Audio(value=b"RIFF"))],
        key=pb.Int64OrString(string="k"),
        anything=anything,
        children=[
            pb.Page(
                count=0,
                side=pb.PAGE_SIDE_LEFT,
                limit=pb.OptionalInt64(value=5),
                words=pb.StringList(value=["a"]),
                anything=pb.Value(),
            )
        ],
    )


def test_every_kind_of_value_arrives_as_it_is(kit: Kit, stub: Any, pb: Any) -> None:
    assert kit.post(on="is_the_page", page=PAGE)
    assert stub.IsThePage(pb.IsThePageRequest(page=page(pb)), timeout=SOON).value
    assert stub.Turn(pb.TurnRequest(page=page(pb)), timeout=SOON) == page(pb)


def test_what_is_unset_is_the_default_or_null(stub: Any, pb: Any) -> None:
    found = stub.Turn(pb.TurnRequest(page=pb.Page()), timeout=SOON)

    assert (found.title, found.score, found.is_final, found.content) == ("", 0.0, False, b"")
    assert not found.HasField("count")
    assert not found.HasField("scan")
    assert (found.side, found.limit.value, list(found.words.value)) == (pb.PAGE_SIDE_LEFT, 5, ["a"])
    assert not found.HasField("colour")


def test_any_document_goes_as_it_is(stub: Any, pb: Any) -> None:
    doc = pb.Doc(kind="text", value=pb.StringOrBytes(string="hello"), media_type="text/plain")
    assert stub.Kind(pb.KindRequest(doc=doc), timeout=SOON) == doc
    data = pb.StringOrBytes(data=bytes(6))
    more = {"dtype": pb.Value(string="uint8"), "shape": pb.Value(list=pb.ValueList(value=[pb.Value(integer=6)]))}
    tensor = pb.Doc(kind="tensor", value=data, media_type="application/octet-stream", extra=more)
    assert stub.Kind(pb.KindRequest(doc=tensor), timeout=SOON) == tensor


def test_a_tensor_has_its_numbers_as_bytes(stub: Any, pb: Any) -> None:
    sent = pb.Tensor(dtype=pb.TENSOR_DTYPE_FLOAT32, shape=[2, 2], value=bytes(16))

    found = stub.Tensor(pb.TensorRequest(doc=sent), timeout=SOON)

    assert (found.dtype, list(found.shape), found.value) == (pb.TENSOR_DTYPE_FLOAT32, [2, 2], bytes(16))


def test_enums_may_be_in_lists_and_maps_and_unions(stub: Any, pb: Any) -> None:
    either = pb.ColourListOrInt64(colour_list=pb.ColourList(value=[pb.COLOUR_RED]))
    sent = pb.ColoursRequest(many=[pb.COLOUR_DARK_BLUE], named={"a": pb.COLOUR_RED}, either=either)
    assert list(stub.Colours(sent, timeout=SOON).value) == [pb.COLOUR_DARK_BLUE, pb.COLOUR_RED, pb.COLOUR_RED]

    echoed = {"a": either, "b": pb.ColourListOrInt64(integer=3)}
    assert dict(stub.EchoColours(pb.EchoColoursRequest(either=echoed), timeout=SOON).value) == echoed


def test_the_last_of_a_tuple_may_be_left_out_and_none_before_it(stub: Any, pb: Any) -> None:
    assert stub.Span(pb.SpanRequest(of=pb.Span(start=3)), timeout=SOON) == pb.Span(start=3, end=9, step=1)
    assert stub.Span(pb.SpanRequest(of=pb.Span(end=0)), timeout=SOON) == pb.Span(start=0, end=0, step=1)
    with pytest.raises(grpc.RpcError, match="of: step is set, and one before it is not"):
        stub.Span(pb.SpanRequest(of=pb.Span(start=3, step=2)), timeout=SOON)


def test_what_has_no_type_is_any_value(stub: Any, pb: Any) -> None:
    for value in (pb.Value(), pb.Value(integer=2**63 - 1), pb.Value(number=float("inf")), pb.Value(data=b"\xff")):
        if value.WhichOneof("value") in ("number", "data"):
            continue  # without a type, JSON has neither
        assert stub.Untyped(pb.UntypedRequest(what=value), timeout=SOON) == value


def test_metadata_go_and_come_beside_the_call(stub: Any, pb: Any) -> None:
    reply, call = stub.Said.with_call(pb.SaidRequest(name="x-tenant"), timeout=SOON, metadata=[("x-tenant", "me")])

    assert reply.value == "me"
    assert dict(call.trailing_metadata()) == {"x-model": "v3"}


# Errors


def test_an_error_is_its_status_with_its_details(stub: Any, pb: Any) -> None:
    with pytest.raises(grpc.RpcError, match="no page 7") as raised:
        stub.Missing(pb.MissingRequest(page=7), timeout=SOON)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    told = details(raised.value)
    assert told["details"] == {"near": [1, 2]}
    assert told["id"]  # under which the log of the server has it


def test_what_a_handler_raises_stays_there(stub: Any, pb: Any) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Wrong(pb.WrongRequest(), timeout=SOON)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(raised.value)


def test_what_does_not_validate_is_told_with_its_place(stub: Any, pb: Any) -> None:
    sent = page(pb)
    sent.id = "seven"
    with pytest.raises(grpc.RpcError, match=r"page\.id: ") as raised:
        stub.Turn(pb.TurnRequest(page=sent), timeout=SOON)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(raised.value)["details"]["errors"][0]["loc"] == ["page", "id"]


def test_a_message_that_is_not_set_is_missing(stub: Any, pb: Any) -> None:
    with pytest.raises(grpc.RpcError, match="doc: Field required"):
        stub.Read(pb.ReadRequest(), timeout=SOON)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"colour": 7}, "page.colour: Colour has no value 7; it has 1 to 2"),
        ({"parts": [{}]}, "page.parts: TextOrAudio takes one of: text, audio"),
        ({"key": {}}, "page.key: Int64OrString takes one of: integer, string"),
        ({"children": [{"colour": 7}]}, "page.children.colour: Colour has no value 7; it has 1 to 2"),
    ],
)
def test_a_message_that_stands_for_no_value_is_refused(stub: Any, pb: Any, fields: Any, said: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Turn(pb.TurnRequest(page=pb.Page(**fields)), timeout=SOON)
    assert raised.value.details() == f"what was sent is no protobuf message TurnRequest: {said}"


def test_an_enums_0_in_a_list_is_no_value(stub: Any, pb: Any) -> None:
    with pytest.raises(grpc.RpcError, match="many: the number 0 of Colour stands for no value"):
        stub.Colours(pb.ColoursRequest(many=[0]), timeout=SOON)


def test_the_rest_of_an_open_object_has_no_field_of_its_own(stub: Any, pb: Any) -> None:
    doc = pb.Doc(kind="text", value=pb.StringOrBytes(string="x"), extra={"value": pb.Value(string="y")})
    with pytest.raises(grpc.RpcError, match="doc: extra names fields of Doc itself"):
        stub.Kind(pb.KindRequest(doc=doc), timeout=SOON)


def test_a_reply_that_its_message_cannot_hold_is_the_servers_mistake(stub: Any, pb: Any) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Lied(pb.LiedRequest(), timeout=SOON)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(raised.value)


def test_a_stub_that_leaves_cancels_its_handler(kit: Kit, stub: Any, pb: Any) -> None:
    call = stub.Wait.future(pb.WaitRequest(), timeout=SOON)
    assert kit.started.wait(SOON)
    call.cancel()
    assert kit.cancelled.wait(SOON)


def test_a_stub_has_its_time(kit: Kit, stub: Any, pb: Any) -> None:
    for seconds in (0.2, 1, 10):  # of which the handler may not have begun in the shorter ones
        with pytest.raises(grpc.RpcError) as raised:
            stub.Wait(pb.WaitRequest(), timeout=seconds)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if kit.started.is_set():
            break
    assert kit.cancelled.wait(SOON)


def test_a_parameter_that_the_server_does_not_know_is_refused_and_a_field_within_is_passed_over(
    channel: Any, pb: Any
) -> None:
    add = channel.unary_unary("/xooai.kit.Kit/Add")
    with pytest.raises(grpc.RpcError, match="it has no field 3; is the client's .proto file newer") as raised:
        add(pb.AddRequest(x=1).SerializeToString() + b"\x18\x01", timeout=SOON)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    newer = pb.Text(value="x").SerializeToString() + b"\xc0\x3e\x01"  # field 1000
    joined = channel.stream_unary("/xooai.kit.Kit/Join", None, pb.Text.FromString)
    assert joined(iter([b"\x0a" + bytes([len(newer)]) + newer]), timeout=SOON).value == "x"


@pytest.mark.parametrize("second", [{"sep": "-"}, {"sep": "-", "doc": {"value": "b"}}, {}])
def test_a_later_message_has_an_item_and_no_parameter(stub: Any, pb: Any, second: Any) -> None:
    sent = [pb.JoinRequest(sep="+"), pb.JoinRequest(**second)]
    with pytest.raises(grpc.RpcError, match="sep is a parameter, which the first|doc is not set, the item") as raised:
        stub.Join(iter(sent), timeout=SOON)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("content", [b"\x08", b"\xff" * 20, b"[1]"])
def test_what_is_no_message_is_refused(channel: Any, content: bytes) -> None:
    with pytest.raises(grpc.RpcError, match="what was sent is no protobuf message") as raised:
        channel.unary_unary("/kit/read")(content, timeout=SOON)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_what_nests_too_deep_is_refused(channel: Any) -> None:
    value = b""
    for _ in range(10_000):
        value = _field(6, _field(1, value))  # a list with one value
    with pytest.raises(grpc.RpcError, match="nests more than 100 messages") as raised:
        channel.unary_unary("/kit/untyped")(_field(1, value), timeout=SOON)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("kind", ["empty messages", "packed numbers", "entries of a map", "a group"])
def test_more_values_than_a_frame_may_hold_are_refused_before_they_are_parsed(channel: Any, pb: Any, kind: str) -> None:
    many = 1_000_001
    inner = {
        "empty messages": pb.Page.DESCRIPTOR.fields_by_name["children"].number,
        "packed numbers": 1,
        "entries of a map": pb.Page.DESCRIPTOR.fields_by_name["cells"].number,
        "a group": 0,
    }[kind]
    content = {
        "empty messages": _tag(inner, 2) + b"\0",
        "packed numbers": b"\x01",
        "entries of a map": _tag(inner, 2) + b"\0",
        "a group": b"\x0b\x0c",
    }[kind] * many
    if kind == "packed numbers":
        listed = _field(1, content)
        content = _field(pb.Page.DESCRIPTOR.fields_by_name["rows"].number, listed)
    with pytest.raises(grpc.RpcError, match="it holds more than 1,000,000 values|it is no message of proto3") as raised:
        channel.unary_unary("/kit/turn")(_field(1, content), timeout=60)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _field(number: int, content: bytes) -> bytes:
    return _tag(number, 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def test_a_large_list_comes_through(stub: Any, pb: Any) -> None:
    numbers = list(range(100_000))

    found = stub.Turn(pb.TurnRequest(page=pb.Page(rows=[pb.Int64List(value=numbers)])), timeout=60)

    assert list(found.rows[0].value) == numbers


# Beside protobuf


def test_the_endpoints_own_path_takes_protobuf_and_json(channel: Any, pb: Any) -> None:
    add = channel.unary_unary("/kit/add")

    assert pb.AddReply.FromString(add(pb.AddRequest(x=1, y=2).SerializeToString(), timeout=SOON)).value == 3
    assert pb.AddReply.FromString(add(b"", timeout=SOON)) == pb.AddReply(value=0)
    assert add(b'{"x": 1, "y": 2}', timeout=SOON) == b"3"
    assert add(b"\x82\xa1x\x01\xa1y\x02", timeout=SOON, metadata=[("xooai-codec", "msgpack")]) == b"\x03"
    said = [("xooai-codec", "proto")]
    assert add(pb.AddRequest(x=1).SerializeToString(), timeout=SOON, metadata=said) == b"\x08\x01"


def test_a_methods_path_takes_json_where_metadata_say_so(channel: Any) -> None:
    add = channel.unary_unary("/xooai.kit.Kit/Add")

    assert add(b'{"x": 1, "y": 2}', timeout=SOON, metadata=[("xooai-codec", "json")]) == b"3"


@pytest.mark.parametrize(("codec", "accept"), [("proto", "json"), ("json", "proto"), ("", "proto")])
def test_protobuf_is_answered_in_protobuf_only(channel: Any, codec: str, accept: str) -> None:
    said = [("xooai-accept", accept), *([("xooai-codec", codec)] if codec else [])]
    with pytest.raises(grpc.RpcError, match="a call in protobuf is answered in protobuf") as raised:
        channel.unary_unary("/kit/add")(b"{}", timeout=SOON, metadata=said)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/kit/nowhere", grpc.StatusCode.NOT_FOUND),
        ("/xooai.kit.Kit/Nowhere", grpc.StatusCode.NOT_FOUND),
        ("/xooai.other.Other/Read", grpc.StatusCode.NOT_FOUND),
        ("/xooai/describe", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_a_path_without_messages_is_refused(channel: Any, path: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(path)(b"\x08\x01", timeout=SOON)
    assert raised.value.code() is code
