"""gRPC with clients and servers that are not ours: what they are understood to say, and told."""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_site import JSON, MSGPACK, SOON, Run, call, foreign, head, linked, listening

from xooai.driver import Shape
from xooai.errors import Code, Internal, ResourceExhausted, Unavailable, Unimplemented, XooaiError

# Clients that are not ours.


def test_json_bytes_are_answered_as_json(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), foreign(listener.url) as channel:
            assert await channel.unary_unary("/echo/say")(b'{"a": 1}') == b'{"a": 1}'
            assert (site.heads[0].codec, site.heads[0].shape) == (JSON, Shape.UNARY)

    run(scene())


def test_a_codec_is_told_by_metadata(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), foreign(listener.url) as channel:
            said = channel.unary_unary("/echo/say")(b"\x80", metadata=(("xooai-codec", "msgpack"),))
            assert await said == b"\x80"
            assert site.heads[0].codec == MSGPACK
            assert dict(await said.trailing_metadata()) == {}

    run(scene())


@pytest.mark.parametrize("body", [b"\x0a\x05hello", b"", b"[1]"])
def test_protobuf_is_refused_with_what_would_be_right(run: Run, body: bytes) -> None:
    async def scene(metadata: tuple[tuple[str, str], ...], streams: bool) -> None:
        async with listening() as (listener, site), foreign(listener.url) as channel:
            opened = channel.stream_unary if streams else channel.unary_unary
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await opened("/echo/say")(iter([body]) if streams else body, metadata=metadata)
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "protobuf" in str(raised.value.details())
            assert "json, msgpack" in str(raised.value.details())
            assert site.heads == []

    run(scene((), False))
    run(scene((("xooai-codec", "proto"),), False))
    run(scene((("xooai-shape", "client"),), True))


def test_a_stub_of_any_shape_is_answered_where_it_sends_one_message(run: Run) -> None:
    """A unary call is a stream of one: the same on the wire."""

    async def scene() -> None:
        async with listening() as (listener, _), foreign(listener.url) as channel:
            for calling in (
                channel.unary_stream("/echo/say")(b"{}"),
                channel.stream_stream("/echo/say")(iter([b"{}"])),
            ):
                assert [frame async for frame in calling] == [b"{}"]
            assert await channel.stream_unary("/echo/say")(iter([b"{}"])) == b"{}"

    run(scene())


def test_a_shape_may_be_told_by_metadata(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), foreign(listener.url) as channel:
            bidi = channel.stream_stream("/echo/each")(iter([b"{1", b"2", b"3"]), metadata=(("xooai-shape", "bidi"),))
            assert [frame async for frame in bidi] == [b"{1", b"2", b"3"]
            assert site.heads[0].codec == JSON
            server = channel.unary_stream("/echo/tell")
            more = (("xooai-shape", "server"), ("xooai-codec", "msgpack"))
            assert [frame async for frame in server(b"3 0", metadata=more)] == [b"0", b"1", b"2"]
            client = channel.stream_unary("/echo/count")
            assert await client(iter([b"{", b"22"]), metadata=(("xooai-shape", "client"),)) == b"2 3"

    run(scene())


def test_a_shape_that_is_none_is_refused(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), foreign(listener.url) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="'twin'; it takes one of: unary, client, server, bidi"):
                await channel.unary_unary("/echo/say")(b"{}", metadata=(("xooai-shape", "twin"),))

    run(scene())


def test_an_error_is_a_status_with_its_details_beside_it(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), foreign(listener.url) as channel:
            said = {"code": 5, "message": "no such book", "details": {"near": ["a"]}, "id": "7"}
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.unary_unary("/echo/fail")(json.dumps(said).encode())
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
            assert raised.value.details() == "no such book"
            beside: Any = dict(raised.value.trailing_metadata() or ())
            assert json.loads(beside["xooai-error-bin"]) == {"id": "7", "details": {"near": ["a"]}}

    run(scene())


def test_an_error_fits_into_what_others_take_by_default(run: Run) -> None:
    """gRPC's own limit is 8 KiB for all trailers."""

    async def scene() -> None:
        async with listening() as (listener, _), foreign(listener.url) as channel:
            mistakes = [{"type": "missing", "loc": ["a", number], "msg": "Field required"} for number in range(500)]
            said = {"code": 3, "message": "m" * 100_000, "details": {"errors": mistakes}}
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.unary_unary("/echo/fail")(json.dumps(said).encode())
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    run(scene())


def test_an_unknown_path_gets_the_sites_answer(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), foreign(listener.url) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="no endpoint '/echo/nothing'") as raised:
                await channel.unary_unary("/echo/nothing")(b"{}")
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND

    run(scene())


def test_a_deadline_is_grpcs_own(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), foreign(listener.url) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.unary_unary("/echo/wait")(b"{}", timeout=0.2)
            assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert site.heads[0].timeout is not None
            assert 0 < site.heads[0].timeout < 0.3
            await asyncio.wait_for(site.cancelled.wait(), 0.5)

    run(scene())


# Health and reflection.


def test_the_health_follows_the_site(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), foreign(listener.url) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watching = health.Watch(health_pb2.HealthCheckRequest())
            for is_ready, status in ((True, "SERVING"), (False, "NOT_SERVING")):
                site.is_ready = is_ready
                found = await health.Check(health_pb2.HealthCheckRequest())
                assert health_pb2.HealthCheckResponse.ServingStatus.Name(found.status) == status
                assert (await asyncio.wait_for(watching.read(), SOON)).status == found.status
            watching.cancel()

    run(scene())


def test_the_health_of_a_service_that_is_none_is_unknown(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), foreign(listener.url) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await health.Check(health_pb2.HealthCheckRequest(service="nothing"))
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
            watching = health.Watch(health_pb2.HealthCheckRequest(service="nothing"))
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            watching.cancel()

    run(scene())


def test_who_watches_the_health_learns_of_the_end_and_does_not_hold_it_up(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), foreign(listener.url) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watching = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
            await asyncio.wait_for(listener.aclose(grace=600), SOON)
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING

    run(scene())


@pytest.mark.parametrize("service", ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"])
def test_reflection_lists_and_describes_the_health_service(run: Run, service: str) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), foreign(listener.url) as channel:
            asking: Any = channel.stream_stream(
                f"/{service}/ServerReflectionInfo",
                reflection_pb2.ServerReflectionRequest.SerializeToString,
                reflection_pb2.ServerReflectionResponse.FromString,
            )()
            await asking.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            listed = (await asking.read()).list_services_response.service
            assert {found.name for found in listed} >= {"grpc.health.v1.Health"}
            await asking.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"))
            (file,) = (await asking.read()).file_descriptor_response.file_descriptor_proto
            assert b"HealthCheckRequest" in file
            await asking.done_writing()

    run(scene())


# Servers that are not ours.


@asynccontextmanager
async def other_server(answer: Any) -> AsyncIterator[str]:
    """A gRPC server with one handler for all calls."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
            return grpc.stream_stream_rpc_method_handler(answer)

    server = grpc.aio.server(handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_another_servers_status_is_a_typed_error(run: Run, code: grpc.StatusCode) -> None:
    async def answer(requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await context.abort(code, "as it says")

    async def scene() -> None:
        async with other_server(answer) as url, linked(url) as link:
            with pytest.raises(XooaiError, match="as it says") as raised:
                await call(link)
            classless = {Code.CANCELLED: Code.UNAVAILABLE, Code.UNKNOWN: Code.INTERNAL, Code.ABORTED: Code.INTERNAL}
            classless[Code.OUT_OF_RANGE] = Code.INTERNAL
            number = Code(code.value[0])
            assert raised.value.code == classless.get(number, number)
            if isinstance(raised.value, ResourceExhausted):
                assert raised.value.reason == "load"

    run(scene())


@pytest.mark.parametrize("trailer", [b"no JSON", b"[1]", b'{"details": 3, "id": 4}'])
def test_a_trailer_that_is_not_ours_does_no_harm(run: Run, trailer: bytes) -> None:
    async def answer(requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "as it says", (("xooai-error-bin", trailer),))

    async def scene() -> None:
        async with other_server(answer) as url, linked(url) as link:
            with pytest.raises(Unimplemented, match="as it says") as raised:
                await call(link)
            assert (raised.value.details, raised.value.id) == ({}, None)

    run(scene())


def test_a_second_reply_is_an_error_where_one_is_due(run: Run) -> None:
    async def answer(requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await context.write(b"1")
        await context.write(b"2")

    async def scene() -> None:
        async with other_server(answer) as url, linked(url) as link:
            channel = await link.open(head("say", Shape.CLIENT))
            with pytest.raises(Internal, match="a second frame"):
                await channel.receive()

    run(scene())


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"\0" * 100])
def test_what_is_no_grpc_server_is_unavailable(run: Run, said: bytes) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async def scene() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, linked(f"grpc://127.0.0.1:{port}") as link:
            with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
                await call(link, timeout=SOON)

    run(scene())
