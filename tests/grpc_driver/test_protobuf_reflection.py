"""Clients that have no file: they ask the server by reflection what its services are, and call them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from protobuf_kit import Kit
from stubs import compiled

from xooai import Executor, Text, post
from xooai.driver import ListenOptions
from xooai.hosting import Background
from xooai.proto_text import text
from xooai_grpc.opaque import FILE

HERE = "grpc://127.0.0.1:0"
SOON = 30  # seconds


class Second(Executor):
    @post
    def shout(self, doc: Text) -> Text:
        return Text(value=doc.read().upper())


@pytest.fixture
def channel() -> Iterator[Any]:
    with Kit() as kit:
        (url,) = kit.start(HERE)
        with grpc.insecure_channel(url.removeprefix("grpc://")) as made:
            yield made


class Client:
    """A client as grpcurl is one: it knows what reflection tells."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self.database)

    def method(self, path: str) -> MethodDescriptor:
        service, _, name = path.rpartition("/")
        found: MethodDescriptor = self._pool.FindServiceByName(service).methods_by_name[name]
        return found

    def call(self, path: str, *requests: dict[str, Any]) -> Any:
        """The reply, or the list of replies."""
        method = self.method(path)
        taken, given = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        sides = ["stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming)]
        calling = getattr(self._channel, "_".join(sides))(f"/{path}", taken.SerializeToString, given.FromString)
        sent = [taken(**request) for request in requests]
        found = calling(iter(sent) if method.client_streaming else sent[0], timeout=SOON)
        return list(found) if method.server_streaming else found


def test_the_services_of_the_executors_are_listed(channel: Any) -> None:
    assert set(Client(channel).database.get_services()) == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "xooai.Endpoints",
        "xooai.kit.Kit",
    }


def test_both_versions_of_reflection_describe_the_same(channel: Any) -> None:
    def asked(version: str) -> Any:
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="xooai.kit.Page")
        (reply,) = ask(iter([request]), timeout=SOON)
        return reply.file_descriptor_response

    assert asked("v1") == asked("v1alpha")
    assert b"is_final" in asked("v1").file_descriptor_proto[0]


def test_calls_of_all_shapes_need_no_file(channel: Any) -> None:
    client = Client(channel)

    assert client.call("xooai.kit.Kit/Add", {"x": 1, "y": 2}).value == 3
    assert [reply.value for reply in client.call("xooai.kit.Kit/Count", {"n": 2})] == [0, 1]
    assert (
        client.call("xooai.kit.Kit/Join", {"sep": "-"}, {"doc": {"value": "a"}}, {"doc": {"value": "b"}}).value == "a-b"
    )
    assert [reply.value for reply in client.call("xooai.kit.Kit/Talk", {"doc": {"value": "a"}})] == ["hello", "A"]


def test_each_executor_of_a_server_has_a_service() -> None:
    hosted = [Kit()._xooai_local(), Second(name="second.v-2")._xooai_local()]
    server = Background(hosted, (HERE,), ListenOptions(), grace=0)
    (url,) = server.start()
    try:
        with grpc.insecure_channel(url.removeprefix("grpc://")) as channel:
            client = Client(channel)
            assert {"xooai.kit.Kit", "xooai.second_v_2.SecondV2"} <= set(client.database.get_services())
            assert client.call("xooai.kit.Kit/Add", {"x": 1}).value == 1
            assert client.call("xooai.second_v_2.SecondV2/Shout", {"doc": {"value": "a"}}).value == "A"
    finally:
        server.stop()


# The service that reaches every endpoint


def test_the_shipped_file_is_what_the_server_describes() -> None:
    assert (files("xooai_grpc") / "xooai.proto").read_text() == text(FILE)


@pytest.fixture(scope="module")
def opaque(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    shipped = Path(str(files("xooai_grpc") / "xooai.proto")).read_text()
    return compiled(shipped, "xooai_by_protoc", tmp_path_factory.mktemp("opaque"))


@pytest.fixture
def stub(channel: Any, opaque: tuple[Any, Any]) -> Any:
    return opaque[1].EndpointsStub(channel)


def test_an_endpoint_is_called_with_bytes(stub: Any, opaque: Any) -> None:
    request = opaque[0].Request(path="kit/add", payload=b'{"x": 1, "y": 2}')
    assert stub.Post(request, timeout=SOON) == opaque[0].Reply(payload=b"3", codec="json")

    packed = msgspec.msgpack.encode({"x": 1, "y": 2})
    request = opaque[0].Request(path="/kit/add", payload=packed, codec="msgpack")
    assert stub.Post(request, timeout=SOON) == opaque[0].Reply(payload=b"\x03", codec="msgpack")


def test_raw_media_are_a_payload(stub: Any, opaque: Any) -> None:
    request = opaque[0].Request(path="kit/read", payload=b"GIF89a", codec="image/gif")
    assert json.loads(stub.Post(request, timeout=SOON).payload)["value"] == "6 bytes over 0.5"


def test_the_server_describes_itself_to_it(stub: Any, opaque: Any) -> None:
    reply = stub.Post(opaque[0].Request(path="xooai/describe", payload=b"{}"), timeout=SOON)
    assert "add" in json.loads(reply.payload)["executors"]["kit"]


def test_metadata_are_in_the_request_or_beside_it(stub: Any, opaque: Any) -> None:
    request = opaque[0].Request(path="kit/said", payload=b'{"name": "x-tenant"}', metadata={"x-tenant": "me"})
    reply, call = stub.Post.with_call(request, timeout=SOON, metadata=[("x-other", "other")])
    assert reply.payload == b'"me"'
    assert dict(call.trailing_metadata()) == {"x-model": "v3"}
    assert stub.Post(request, timeout=SOON, metadata=[("x-tenant", "gateway's")]).payload == b'"gateway\'s"'
    beside = opaque[0].Request(path="kit/said", payload=b'{"name": "x-tenant"}')
    assert stub.Post(beside, timeout=SOON, metadata=[("x-tenant", "you")]).payload == b'"you"'


@pytest.mark.parametrize(
    ("path", "payloads", "replies"),
    [
        ("kit/add", [b'{"x": 1, "y": 2}'], [b"3"]),
        ("kit/count", [b'{"n": 2}'], [b"0", b"1"]),
        ("kit/join", [b'{"sep": "-"}', b'{"value": "a"}', b'{"value": "b"}'], [b'{"kind":"text","value":"a-b"}']),
        ("kit/repeat", [b'{"times": 2}', b'{"value": "a"}', b'{"value": "b"}'], [b'"aa"', b'"bb"']),
    ],
)
def test_a_stream_reaches_endpoints_of_all_shapes(
    stub: Any, opaque: Any, path: str, payloads: list[bytes], replies: list[bytes]
) -> None:
    first, *rest = payloads
    sent = [opaque[0].Request(path=path, payload=first), *(opaque[0].Request(payload=payload) for payload in rest)]
    assert [reply.payload for reply in stub.Stream(iter(sent), timeout=SOON)] == replies


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"path": "kit/missing", "payload": b'{"page": 7}'}, "NOT_FOUND", "no page 7"),
        ({"path": "kit/nowhere"}, "NOT_FOUND", "no endpoint 'kit/nowhere'"),
        ({}, "INVALID_ARGUMENT", "no path; it takes `executor/endpoint`"),
        ({"path": "kit/count", "payload": b'{"n": 2}'}, "INVALID_ARGUMENT", "use stream"),
        ({"path": "kit/add", "codec": "proto"}, "UNIMPLEMENTED", "in json, msgpack or a media type"),
        ({"path": "kit/add", "codec": "yaml"}, "UNIMPLEMENTED", "yaml"),
        ({"path": "kit/add", "metadata": {"grpc-x": "1"}}, "INVALID_ARGUMENT", "gRPC or the driver uses"),
    ],
)
def test_what_is_wrong_with_a_request_is_its_status(
    stub: Any, opaque: Any, given: dict[str, Any], code: str, said: str
) -> None:
    with pytest.raises(grpc.RpcError, match=said) as raised:
        stub.Post(opaque[0].Request(**given), timeout=SOON)
    assert raised.value.code().name == code


@pytest.mark.parametrize("sent", [[], [{"path": "kit/join", "payload": b"{}"}, {"path": "kit/join"}]])
def test_a_stream_names_its_path_once(stub: Any, opaque: Any, sent: list[dict[str, Any]]) -> None:
    with pytest.raises(grpc.RpcError, match="its first names the path|given by the first message") as raised:
        list(stub.Stream(iter([opaque[0].Request(**one) for one in sent]), timeout=SOON))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
