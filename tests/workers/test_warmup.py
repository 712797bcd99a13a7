"""Examples run before a server is ready."""

from __future__ import annotations

import pytest

from xooai import Executor, FailedPrecondition, Text, post, stream

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


class Cold(Executor):
    @post(warmup={})
    def fail(self) -> int:
        raise RuntimeError("no such device")


def test_examples_have_run_when_the_server_is_ready() -> None:
    with Warm() as executor:
        executor.start("http://127.0.0.1:0")

        assert executor.seen == [("one", False), ("two", True), ("three", False), ["a", "b", "c"]]


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
