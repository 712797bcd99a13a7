"""Values of all types, through messages of protoc's own classes and a running server: as they were."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from stubs import compiled

import cases
from xooai import Executor, Image, InvalidArgument, Text, post
from xooai.codec import MSGPACK
from xooai.describe import document
from xooai.endpoint import Endpoint
from xooai.proto import File, Method
from xooai.proto_text import text
from xooai_grpc.descriptors import added
from xooai_grpc.typed import TypedMessage, TypedMethod, messages_of

SOON = 30  # seconds
EXAMPLES = 5  # of each type here: the codecs' own tests have more
# What is read by one name is written by another, so the class has two messages: what is written is none of the request's.
CASES = [case for case in cases.CASES if case.name != "either name"]


def gallery() -> type[Executor]:
    """An executor with an endpoint for each type, which gives back what it is given."""

    def endpoint(case: cases.Case) -> Callable[..., Any]:
        def echo(self: Any, value: Any) -> Any:
            return value

        echo.__annotations__ = {"value": case.annotation, "return": case.annotation}
        return echo

    return type("Gallery", (Executor,), {f"case_{index}": post(endpoint(case)) for index, case in enumerate(CASES)})


def file_of(executor: Executor) -> File:
    (file,) = msgspec.json.decode(document("proto", [executor._xooai_local()]), type=list[File])
    return file


def messages(file: File) -> dict[str, TypedMessage]:
    pool = DescriptorPool()
    added(file, pool)
    return messages_of(file, pool)


def endpoints(executor: Executor) -> dict[str, Endpoint]:
    return {endpoint.name: endpoint for endpoint, _ in executor._xooai_local().endpoints()}


class Served:
    """The gallery on a server, and what its clients have."""

    def __init__(self, executor: Executor, channel: grpc.Channel, stubs: tuple[Any, Any]) -> None:
        self.endpoints = endpoints(executor)
        self.file = file_of(executor)
        self.messages = messages(self.file)
        self.pb = stubs[0]
        self.stub = stubs[1].GalleryStub(channel)

    def echoed(self, endpoint: Endpoint, method: Method, value: Any) -> Any:
        """The value that a stub's call brings back."""
        frame = MSGPACK.encode(endpoint.arguments, {"value": value})
        content = self.messages[method.request].write(msgspec.msgpack.decode(frame))
        request = getattr(self.pb, method.request).FromString(content)
        assert not UnknownFieldSet(request)
        reply = getattr(self.stub, method.name)(request, timeout=SOON)
        message = self.messages[method.reply]
        back = message.read(message.parsed(reply.SerializeToString(), is_closed=True))
        return MSGPACK.decode(endpoint.result, msgspec.msgpack.encode(back))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with gallery()() as executor:
        stubs = compiled(text(file_of(executor)), "gallery_by_protoc", tmp_path_factory.mktemp("gallery"))
        (url,) = executor.start("grpc://127.0.0.1:0")
        with grpc.insecure_channel(url.removeprefix("grpc://")) as channel:
            grpc.channel_ready_future(channel).result(SOON)  # its sockets are those of all tests here
            yield Served(executor, channel, stubs)


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case.name for case in CASES])
def test_a_value_comes_back_by_a_stub_as_it_was(served: Served, index: int) -> None:
    endpoint, method = served.endpoints[f"case_{index}"], served.file.methods[index]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(CASES[index].values)
    def holds(value: Any) -> None:
        assert cases.same(served.echoed(endpoint, method, value), value)

    holds()


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(cases.composed(), st.data())
def test_types_put_together_at_random_have_messages_that_bring_them_back(case: cases.Case, data: st.DataObject) -> None:
    assume("either name" not in case.name)
    try:
        executor = object.__new__(cases.echo(case.annotation))
        (endpoint,) = endpoints(executor).values()
    except TypeError:  # a union that cannot be told apart, or what no set holds
        assume(False)
    file = file_of(executor)
    found, (method,) = messages(file), file.methods
    typed = TypedMethod(file, method, found)
    value = data.draw(case.values)
    try:
        frame = MSGPACK.encode(endpoint.arguments, {"value": value})
    except InvalidArgument:
        assume(False)
    content = found[method.request].write(msgspec.msgpack.decode(frame))
    arrived = MSGPACK.decode(endpoint.arguments, typed.opening(content))["value"]
    assert cases.same(arrived, MSGPACK.decode(endpoint.arguments, frame)["value"])
    reply = typed.answer(MSGPACK.encode(endpoint.result, arrived))
    back = msgspec.msgpack.encode(found[method.reply].read(found[method.reply].parsed(reply)))
    assert cases.same(MSGPACK.decode(endpoint.result, back), arrived)


@pytest.fixture(scope="module")
def everything() -> tuple[TypedMethod, bytes]:
    """An endpoint that takes a field of every kind, and a message for it."""
    executor = object.__new__(cases.echo(cases.Everything))
    (endpoint,), file = endpoints(executor).values(), file_of(executor)
    found, (method,) = messages(file), file.methods
    value = cases.Everything(
        content=b"\xff", numbers={1, -1}, colour=cases.Colour.RED, table={uuid.UUID(int=1): [(1, b"x")]},
        anything={"a": [None, 0.5]}, image=Image(value=b"GIF89a"), docs=[Text(value="t")], plain=cases.Plain(x=1.0),
    )  # fmt: skip
    frame = MSGPACK.encode(endpoint.arguments, {"value": value})
    return TypedMethod(file, method, found), found[method.request].write(msgspec.msgpack.decode(frame))


@settings(max_examples=500, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bytes_that_went_wrong_on_their_way_are_a_message_or_refused(
    everything: tuple[TypedMethod, bytes], data: st.DataObject
) -> None:
    typed, sample = everything
    content = bytearray(sample)
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(sample) - 1), st.integers(0, 255)), max_size=8)):
        content[place] = byte
    del content[data.draw(st.integers(0, len(sample))) :]
    try:
        frame = typed.opening(bytes(content))
    except InvalidArgument:
        return
    assert isinstance(msgspec.msgpack.decode(frame), dict)
