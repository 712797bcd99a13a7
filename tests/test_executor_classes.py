"""Classes of executors that Python allows and that would fail later: refused when made or served, or simply working."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from xooai import Executor, InvalidArgument, post, serve
from xooai.mount import application

HERE = "http://127.0.0.1:0"  # any free port
Hook = Callable[..., Any]


def making(name: str, hook: Any) -> type:
    return type("Reader", (Executor,), {name: hook})


def plain(self: Any) -> None:
    pass


async def waiting(self: Any) -> None:
    pass


async def generating(self: Any) -> Any:
    yield 1


@pytest.mark.parametrize(
    ("name", "hook", "right"),
    [
        ("setup", plain, "async def setup(self)"),
        ("setup", generating, "async def setup(self)"),
        ("setup", True, "async def setup(self)"),
        ("close", waiting, "def close(self)"),
        ("close", None, "def close(self)"),
    ],
)
def test_a_hook_of_the_wrong_kind_is_refused_when_the_class_is_made(name: str, hook: Any, right: str) -> None:
    with pytest.raises(TypeError) as caught:
        making(name, hook)
    assert f"Reader.{name}" in str(caught.value)
    assert f"`{right}`" in str(caught.value)


def test_a_hook_behind_a_decorator_is_what_it_decorates() -> None:
    def twice(hook: Hook) -> Hook:
        @functools.wraps(hook)
        def both(self: Any) -> Awaitable[Any]:
            return asyncio.wait_for(hook(self), 1)

        return both

    making("setup", twice(waiting))
    making("close", functools.wraps(plain)(functools.partial(plain)))


class Own(Executor):
    """Has attributes and methods of its own, by names that a framework might have taken."""

    _layers = ("a layer",)

    def __init__(self) -> None:
        self._name = "own"
        self._client = self._remote = self._local = self._background = self._declared = object()

    @post
    def told(self) -> str:
        return f"{self._name} {self._end()} {self._layers[0]}"

    def _end(self) -> str:
        return "end"

    def _endpoint(self, on: str) -> None:
        raise AssertionError("the class's own, which nobody calls")


def test_private_names_are_the_users_own() -> None:
    with Own() as e:
        assert e.post(on="told") == "own end a layer"
        assert e.name == "own"  # after the class
        assert e.told() == e.post("told")


def test_what_the_framework_keeps_has_a_prefix_of_its_own() -> None:
    private = {name for name in dir(Executor) if name.startswith("_") and not name.startswith("__")}

    assert {name for name in private if not name.startswith("_xooai_")} == set()


class Silent(Executor):
    """Has no endpoint."""

    def read(self) -> int:
        return 1


def test_an_executor_without_endpoints_is_not_served() -> None:
    for begin in (lambda: Silent().start(HERE), lambda: serve(Silent(), at=HERE), lambda: application(Silent())):
        with pytest.raises(InvalidArgument, match="'silent' has no endpoints; @post makes a method one"):
            begin()


@dataclasses.dataclass(frozen=True)
class Frozen(Executor):
    """Refuses that its attributes are set."""

    n: int = 3

    @post
    def add(self, x: int) -> int:
        return x + self.n

    @post
    async def pass_on(self, url: str, x: int) -> Any:
        return await self.apost(on=f"{url}/frozen/add", x=x)


def test_a_frozen_dataclass_may_be_an_executor() -> None:
    executor = Frozen(4)
    with executor:
        assert executor.post(on="add", x=1) == 5
        url = executor.start(HERE)[0]
        with Frozen.at(url) as client:
            assert client.add(x=3) == 7
            assert client.post(on="pass_on", url=url, x=4) == 8


class Showing(Executor):
    """What it shows and gives back is made by its constructor."""

    def __init__(self) -> None:
        self.path = "model.onnx"
        self.released: list[str] = []

    def __repr__(self) -> str:
        return f"Showing({self.path})"

    def __str__(self) -> str:
        return self.path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Showing) and self.path == other.path

    def __del__(self) -> None:
        self.released.append(self.path)

    @post
    def read(self) -> int:
        return 1


def test_a_client_is_shown_compared_and_collected_without_what_a_constructor_makes() -> None:
    """Errors in __del__ are warnings, and those fail a test."""
    client = Showing.at("http://127.0.0.1:1")
    assert repr(client) == str(client) == f"{client}" == "<Showing 'showing' at http://127.0.0.1:1>"
    assert client == client
    assert client != Showing.at("http://127.0.0.1:1")
    assert {client: 1}[client] == 1
    del client
    gc.collect()
    assert repr(Showing()) == "Showing(model.onnx)"


@pytest.mark.parametrize("name", ["post", "apost", "stream", "astream", "open", "call", "start", "serve", "at"])
def test_public_methods_are_those_of_executor_wherever_they_are_defined(name: str) -> None:
    """In errors, and where code is pickled or looked up by name."""
    method = getattr(Executor, name)
    assert (method.__module__, method.__qualname__) == (Executor.__module__, f"Executor.{name}")
    function = getattr(method, "__func__", method)
    assert getattr(pickle.loads(pickle.dumps(method)), "__func__", function) is function


def test_wrong_arguments_name_the_class_that_users_know() -> None:
    with pytest.raises(TypeError, match=r"^Executor\.post\(\) takes"):
        Executor().post("read", "a.txt")  # type: ignore[call-arg, arg-type]  # the mistake that is tested
