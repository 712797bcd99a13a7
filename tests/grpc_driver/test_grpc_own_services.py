"""The services that gRPC has itself: a message that cannot be read ends its call, and fills no log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from grpc_poller import poller
from xooai import Executor, post

grpc = pytest.importorskip("grpc", reason="it comes with: pip install -e '.[grpc]'")

__all__ = ["poller"]

PATIENCE = 20.0  # seconds
BROKEN = (b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe")
REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class Plain(Executor):
    @post
    async def ping(self) -> str:
        return "pong"


@pytest.fixture(scope="module")
def channel() -> Iterator[Any]:
    with Plain() as plain, grpc.insecure_channel(plain.start("grpc://127.0.0.1:0")[0].removeprefix("grpc://")) as made:
        grpc.channel_ready_future(made).result(PATIENCE)
        yield made


@pytest.mark.parametrize("frame", BROKEN, ids=["tag", "length", "text"])
def test_health_that_is_asked_for_by_no_message_is_an_invalid_argument(
    channel: Any, frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT") as checked:
            channel.unary_unary("/grpc.health.v1.Health/Check")(frame, timeout=PATIENCE)
        with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
            list(channel.unary_stream("/grpc.health.v1.Health/Watch")(frame, timeout=PATIENCE))

    assert checked.value.details() == "this is no grpc.health.v1.HealthCheckRequest"
    assert told(caplog) == []


@pytest.mark.parametrize("service", REFLECTIONS)
def test_reflection_that_is_asked_for_by_no_message_is_an_invalid_argument(
    channel: Any, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    ask = channel.stream_stream(f"/{service}/ServerReflectionInfo")
    with caplog.at_level(logging.DEBUG):
        for frame in BROKEN:
            with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
                list(ask(iter([frame]), timeout=PATIENCE))

    assert told(caplog) == []


def test_what_can_be_read_is_answered(channel: Any) -> None:
    assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=PATIENCE) == b"\x08\x01"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
