"""What a handler knows of its call, what travels beside the arguments, and layers around both sides."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from places import HERE, Place

from xooai import Executor, FailedPrecondition, Internal, InvalidArgument, NotFound, Unavailable, current, post
from xooai.call import Call, Service


class Asking(Executor):
    """Tells what `current()` says."""

    @post
    def in_thread(self) -> dict[str, Any]:
        return told()

    @post
    async def on_loop(self) -> dict[str, Any]:
        return told()

    @post
    async def deeper(self) -> dict[str, Any]:
        return await asyncio.create_task(later())

    @post
    def in_own_thread(self) -> str:
        found: list[str] = []

        def look() -> None:
            try:
                current()
            except FailedPrecondition as error:
                found.append(error.message)

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return found[0]


def told() -> dict[str, Any]:
    call = current()
    return {
        "id": call.id,
        "endpoint": f"{call.endpoint.owner}.{call.endpoint.name}",
        "metadata": dict(call.metadata),
        "remaining": call.remaining,
        "peer": call.peer,
        "identity": call.identity,
    }


async def later() -> dict[str, Any]:
    await asyncio.sleep(0)
    return told()


@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop", "deeper"])
def test_a_handler_knows_its_call(place: Place, codec: str, endpoint: str) -> None:
    found = place(Asking()).post(on=endpoint, codec=codec, timeout=30, metadata={"X-Tenant": "acme"})

    assert found["id"]
    assert found["endpoint"] == f"asking.{endpoint}"
    assert {name.lower(): value for name, value in found["metadata"].items()}["x-tenant"] == "acme"
    assert 0 < found["remaining"] <= 30
    assert found["identity"] is None
    assert found["peer"].startswith("127.0.0.1:") if place.is_remote else found["peer"] == ""


def test_names_of_metadata_arrive_in_lower_case(place: Place) -> None:
    found = place(Asking()).post(on="on_loop", metadata={"X-Tenant": "acme"})
    assert found["metadata"]["x-tenant"] == "acme"


def test_each_call_has_an_id_of_its_own(place: Place) -> None:
    caller = place(Asking())
    assert len({caller.post(on="on_loop")["id"] for _ in range(5)}) == 5


def test_a_call_without_deadline_has_no_remaining_time() -> None:
    with Asking() as asking:
        assert asking.post(on="in_thread")["remaining"] is None
        assert asking.post(on="on_loop")["remaining"] is None


def test_outside_a_handler_there_is_no_current_call() -> None:
    with pytest.raises(FailedPrecondition, match="inside a handler"):
        current()


def test_after_a_call_there_is_no_current_call() -> None:
    with Asking() as asking:
        asking.post(on="in_thread")
        with pytest.raises(FailedPrecondition):
            current()


def test_a_thread_that_a_handler_starts_itself_is_outside(place: Place) -> None:
    assert "inside a handler" in place(Asking()).post(on="in_own_thread")


def test_metadata_of_the_client_goes_with_each_call(serve: Callable[[Executor], str]) -> None:
    url = serve(Asking())
    with Asking.at(url, metadata={"authorization": "Bearer x", "x-a": "1"}) as client:
        assert client.in_thread()["metadata"].items() >= {"authorization": "Bearer x", "x-a": "1"}.items()
        found = client.post(on="on_loop", metadata={"x-a": "2", "x-b": "3"})["metadata"]
        assert found.items() >= {"authorization": "Bearer x", "x-a": "2", "x-b": "3"}.items()


@pytest.mark.parametrize(
    "metadata",
    [{"x-a": "two\r\nlines"}, {"x-a": "\u20ac"}, {"x a": "1"}, {"": "1"}, {"content-type": "text/plain"}, {"x-a": 1}],
    ids=repr,
)
def test_metadata_that_no_header_holds_is_refused_before_it_is_sent(
    serve: Callable[[Executor], str], metadata: dict[str, Any]
) -> None:
    with Asking.at(serve(Asking())) as client, pytest.raises(InvalidArgument, match="metadata"):
        client.post(on="on_loop", metadata=metadata)


class Noting(Executor):
    """Sends metadata back."""

    note: tuple[str, Any] = ("x-model", "v2")

    @post
    def in_thread(self) -> int:
        current().reply_metadata[self.note[0]] = self.note[1]
        return 1

    @post
    async def on_loop(self) -> int:
        current().reply_metadata[self.note[0]] = self.note[1]
        return 1

    @post
    async def failing(self) -> int:
        current().reply_metadata[self.note[0]] = self.note[1]
        raise NotFound("nothing here")


def collecting(found: list[dict[str, str]]) -> Callable[[Service], Service]:
    """A layer that keeps the metadata of replies."""

    def layer(service: Service) -> Service:
        async def collect(call: Call) -> None:
            await service(call)
            found.append(dict(call.reply_metadata))

        return collect

    return layer


@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop"])
def test_metadata_of_a_reply_reaches_a_layer_of_the_client(serve: Callable[[Executor], str], endpoint: str) -> None:
    found: list[dict[str, str]] = []
    with Executor(serve(Noting()), layers=[collecting(found)]) as client:
        assert client.post(on=endpoint) == 1
    assert found[-1]["x-model"] == "v2"


@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop"])
def test_metadata_of_a_reply_is_seen_by_a_layer_of_the_server(endpoint: str) -> None:
    found: list[dict[str, str]] = []
    with Noting(layers=[collecting(found)]) as noting:
        assert noting.post(on=endpoint) == 1
    assert found == [{"x-model": "v2"}]


@pytest.mark.parametrize(
    "note", [("x-model", "two\nlines"), ("x model", "v"), ("content-length", "7"), ("x-n", 5)], ids=repr
)
@pytest.mark.parametrize("endpoint", ["on_loop", "failing"])
def test_metadata_that_cannot_be_sent_back_is_the_handlers_failure(
    serve: Callable[[Executor], str], endpoint: str, note: tuple[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    noting = Noting()
    noting.note = note
    with Noting.at(serve(noting)) as client:
        with pytest.raises(Internal) as caught:
            client.post(on=endpoint)
        assert str(caught.value.id) in caplog.text
        noting.note = ("x-model", "fine")
        assert client.post(on="on_loop") == 1


# Layers


def tracing(name: str, seen: list[str]) -> Callable[[Service], Service]:
    def layer(service: Service) -> Service:
        async def trace(call: Call) -> None:
            seen.append(f"{name} before {call.endpoint.name}")
            try:
                await service(call)
            finally:
                seen.append(f"{name} after")

        return trace

    return layer


def test_layers_stand_around_a_handler_the_first_outermost(codec: str) -> None:
    seen: list[str] = []
    with Asking(layers=[tracing("outer", seen), tracing("inner", seen)]) as asking:
        asking.post(on="in_thread", codec=codec)
    assert seen == ["outer before in_thread", "inner before in_thread", "inner after", "outer after"]


def test_layers_of_a_client_and_of_its_server_nest() -> None:
    seen: list[str] = []
    with ExitStack() as stack:
        asking = stack.enter_context(Asking(layers=[tracing("server", seen)]))
        url = asking.start(HERE)[0]
        client = stack.enter_context(Executor(f"{url}/asking", layers=[tracing("client", seen)]))
        client.post(on="on_loop")
    assert seen[-4:] == ["client before on_loop", "server before on_loop", "server after", "client after"]


def test_a_layer_may_refuse_a_call_before_its_handler_runs(serve: Callable[[Executor], str]) -> None:
    ran = threading.Event()

    class Guarded(Executor):
        @post
        def run(self) -> None:
            ran.set()

    def refusing(service: Service) -> Service:
        async def refuse(call: Call) -> None:
            if call.metadata.get("x-key") != "open":
                raise NotFound("no such thing for you")
            await service(call)

        return refuse

    with Guarded.at(serve(Guarded(layers=[refusing]))) as client:
        with pytest.raises(NotFound, match="for you"):
            client.run()
        assert not ran.is_set()
        client.post(on="run", metadata={"x-key": "open"})
        assert ran.is_set()


@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop"])
def test_a_layer_may_wait(place: Place, endpoint: str) -> None:
    """On the loop that it runs on, whichever way the call was made."""

    def patient(service: Service) -> Service:
        async def wait(call: Call) -> None:
            await asyncio.sleep(0.001)
            await service(call)

        return wait

    assert place(Asking(layers=[patient])).post(on=endpoint)["id"]


def silent(service: Service) -> Service:
    async def nothing(call: Call) -> None:
        return

    return nothing


@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop"])
def test_a_layer_that_never_answers_fails_the_call(
    place: Place, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Internal):
        place(Asking(layers=[silent])).post(on=endpoint)
    assert "layer" in caplog.text


def test_a_layer_of_a_client_that_never_answers_fails_the_call(serve: Callable[[Executor], str]) -> None:
    with Executor(serve(Asking()), layers=[silent]) as client, pytest.raises(Unavailable, match="layer"):
        client.post(on="on_loop")
