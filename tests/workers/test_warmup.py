"""Examples run before a server is ready."""

from __future__ import annotations

from typing import ClassVar

import pytest

from xooai import Executor, FailedPrecondition, Flow, Text, post, stream

pytest.importorskip("uvicorn")


class Warm(Executor):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    @post(warmup=Text(value="one"))
    def read(self, doc: Text, upper: bool = False) -> str:
        self.seen.append((doc.read(), upper))
        return doc.read()

    @post(warmup=[{"doc": Text(value="two"), "upper": True}, Text(value="three")])
    async def other(self, doc: Text, upper: bool = False) -> str:
        self.seen.append((doc.read(), upper))
        return doc.read()

    @post(batch_size=4, warmup=["a", "b", "c"])
    def many(self, text: list[str]) -> list[str]:
        self.seen.append(sorted(text))
        return text


class Made(Executor):
    seen: ClassVar[list[str]] = []
    state = "not set up"

    async def setup(self) -> None:
        self.state = "set up"

    @post(warmup="four")
    def take(self, text: str) -> str:
        self.seen.append(text)
        return f"{text}, {self.state}"


class Cold(Executor):
    @post(warmup={})
    def fail(self) -> int:
        raise RuntimeError("no such device")


def test_examples_have_run_when_the_server_is_ready() -> None:
    with Warm() as executor:
        executor.start("http://127.0.0.1:0")

        assert executor.seen == [("one", False), ("two", True), ("three", False), ["a", "b", "c"]]


def test_a_flow_that_is_served_is_ready_when_the_examples_of_its_nodes_have_run() -> None:
    with Warm() as shared, Flow(name="inner").add(use=shared, on="other", id="inside") as inner, Flow() as outer:
        outer.add(use=shared, on="read", id="first").add(use=shared, on="read", id="again").add(use=inner, id="nested")
        outer.add(use=Made, id="made", needs="first")
        outer.start("http://127.0.0.1:0")

        assert shared.seen == [("one", False), ("two", True), ("three", False)]
        assert Made.seen == ["four"]


def test_a_flow_is_not_served_where_an_example_of_a_node_fails() -> None:
    with (
        Flow().add(use=Cold, id="cold") as flow,
        pytest.raises(FailedPrecondition, match="node 'cold'.*no such device"),
    ):
        flow.start("http://127.0.0.1:0")


def test_a_method_of_an_executor_is_a_node_with_its_setup_and_examples() -> None:
    with Made() as made, Flow().add(use=made.take) as flow:
        Made.seen.clear()
        assert flow.post(text="five") == "five, set up"
        flow.start("http://127.0.0.1:0")

    assert Made.seen == ["five", "four"]


def test_a_call_in_process_waits_for_no_example() -> None:
    executor = Warm()

    assert executor.post(on="read", doc=Text(value="x")) == "x"
    assert executor.seen == [("x", False)]


def test_a_server_whose_example_fails_does_not_start() -> None:
    with (
        Cold() as executor,
        pytest.raises(FailedPrecondition, match="warm-up of cold/fail failed: RuntimeError: no such device"),
    ):
        executor.start("http://127.0.0.1:0")


def test_an_example_that_the_endpoint_does_not_take_is_an_error_of_the_class() -> None:
    with pytest.raises(TypeError, match="warmup: .*'page'"):

        class Wrong(Executor):
            @post(warmup={"page": 1})
            def read(self, doc: Text) -> str: ...  # type: ignore[empty-body]


def test_one_value_does_not_do_for_several_parameters() -> None:
    with pytest.raises(TypeError, match="give a mapping of arguments by name"):

        class Several(Executor):
            @post(warmup=1)
            def add(self, a: int, b: int) -> int: ...  # type: ignore[empty-body]


def test_what_streams_has_no_examples() -> None:
    with pytest.raises(TypeError, match="warmup"):
        stream(warmup=1)  # type: ignore[call-overload]
