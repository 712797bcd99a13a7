"""What is served by workers: how many there are, where, and what each makes of what it is given."""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from importlib import import_module
from multiprocessing import spawn
from tempfile import NamedTemporaryFile
from typing import Any, Protocol, runtime_checkable

import msgspec
from msgspec import structs

from xooai.driver import ListenOptions
from xooai.errors import InvalidArgument
from xooai.routes import Hosted

__all__ = [
    "DEVICE",
    "NUMBER",
    "Command",
    "Dumping",
    "Plan",
    "Recipe",
    "Servable",
    "Work",
    "Written",
    "made",
    "recipes",
    "unpacked",
    "with_device",
]

NUMBER, DEVICE = "XOOAI_WORKER", "XOOAI_DEVICE"
"""The environment variables by which a worker knows its number, from 1 on, and its device."""
_MODULE = re.compile(r"\b([A-Za-z_][\w.]*):[A-Za-z_]")  # of a class or a function, as module:name


class Servable(Protocol):
    """What a worker makes, and hosts: an executor or a Flow."""

    def _xooai_hosted(self) -> Hosted: ...

    def _xooai_served(self) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class Dumping(Protocol):
    """A Flow, of which a file tells all."""

    def dump(self) -> str: ...

    def mermaid(self) -> str: ...


class Command(msgspec.Struct, frozen=True):
    """Workers that run a command line, each from the start: `xooai` with these arguments."""

    args: tuple[str, ...]


class Recipe(msgspec.Struct, frozen=True):
    """An executor to be made in each worker: its class, and what its constructor gets."""

    kind: type[Servable]
    places: tuple[Any, ...] = ()
    names: Mapping[str, Any] = {}

    @property
    def by_name(self) -> Mapping[str, Any]:
        """All that its constructor gets, by the names of its parameters."""
        return (
            {**inspect.signature(self.kind).bind(*self.places, **self.names).arguments, **self.names}
            if self.places
            else self.names
        )

    def told(self) -> tuple[Any, ...]:
        """As a literal."""
        return *_place(self.kind), self.places, dict(self.names)


class Written(msgspec.Struct, frozen=True):
    """A Flow to be made in each worker: its class, the text of its file, and the modules that this names."""

    kind: type[Servable]
    text: str
    modules: tuple[str, ...]

    def told(self) -> tuple[Any, ...]:
        """As a literal."""
        return *_place(self.kind), self.text, self.modules


class Work(msgspec.Struct, frozen=True):
    """What a worker was given: recipes, where they are served, and how it ends."""

    recipes: tuple[Recipe | Written, ...]
    urls: tuple[str, ...]
    options: ListenOptions
    ending: tuple[float, float]


def unpacked(packed: bytes) -> tuple[Mapping[str, Any] | None, Callable[[], Command | Work]]:
    """How this process becomes as the one that packed it, None where it need not; then what it is to do."""
    main, first, *rest = ast.literal_eval(packed.decode())

    def work() -> Command | Work:
        if main is None:
            return Command(first)
        made = tuple(
            (Written if isinstance(third, str) else Recipe)(_class(*at), third, fourth) for *at, third, fourth in first
        )
        urls, options, ending = rest
        return Work(made, urls, ListenOptions(**options), ending)

    return main, work


def _place(kind: type) -> tuple[str, str]:
    """Where a class is: its module, and its name there."""
    return kind.__module__, kind.__qualname__


def _class(module: str, name: str) -> Any:
    """What stands at a place. Raises ImportError and AttributeError."""
    return reduce(getattr, name.split("."), import_module(module))


class Plan(msgspec.Struct, frozen=True):
    """`ending` is the grace and the delay before it, in seconds; `load` what each worker is given to make what it serves."""

    urls: tuple[str, ...]
    options: ListenOptions
    ending: tuple[float, float]
    count: int
    devices: tuple[str, ...]
    load: Command | tuple[Recipe | Written, ...]
    isolated: tuple[str, ...] = ()
    """Executors with processes of their own: the workers after those that take calls."""

    @property
    def rows(self) -> int:
        """How many processes take calls at a time at most: each worker and its successor, and one to spare."""
        return 2 * self.count + 1

    def own(self, number: int) -> str:
        """The executor that is isolated in a worker; "" in one that takes calls."""
        return self.isolated[number - self.count - 1] if number > self.count else ""

    def device(self, number: int) -> str | None:
        """Devices are dealt to the workers in turn, to those of isolated executors first."""
        place = number - 1 + len(self.isolated) if number <= self.count else number - self.count - 1
        return self.devices[place % len(self.devices)] if self.devices else None

    def packed(self) -> bytes:
        """What a worker needs to make what it serves, beside the URLs, as a literal of Python, which can hold no code."""
        if isinstance(self.load, Command):
            return repr((None, self.load.args)).encode()
        main = {key: value for key, value in spawn.get_preparation_data("xooai").items() if key in _PREPARED}
        options = {
            name: value for name, value in structs.asdict(self.options).items() if value is not getattr(_PLAIN, name)
        }
        return repr((main, [one.told() for one in self.load], self.urls, options, self.ending)).encode()


_PLAIN = ListenOptions()
_PREPARED = frozenset({"sys_path", "sys_argv", "orig_dir", "dir", "init_main_from_name", "init_main_from_path"})
"""Of what multiprocessing tells a new process: how its `__main__` and its imports come to be as in this one."""


def recipes(executors: Sequence[Servable | type[Servable]]) -> tuple[Recipe | Written, ...]:
    """How to make executors once more in another process. Raises InvalidArgument where that cannot be known."""
    return tuple(_recipe(executor) for executor in executors)


def _recipe(executor: Servable | type[Servable]) -> Recipe | Written:
    if not isinstance(executor, type) and isinstance(executor, Dumping):
        text = executor.dump()
        modules = dict.fromkeys(_MODULE.findall(text))
        return Written(type(executor), text, (*modules, *(("__mp_main__",) if "__main__" in modules else ())))
    if isinstance(executor, type):
        found = Recipe(executor)
    else:
        given = getattr(executor, "_xooai_given", None)
        if given is None:
            raise InvalidArgument(_unknown(executor))
        found = Recipe(type(executor), *given)
    try:
        is_there = _class(*_place(found.kind)) is found.kind
    except (ImportError, AttributeError):
        is_there = False
    if not is_there:
        raise InvalidArgument(
            f"{found.kind.__name__} cannot be made in a worker, which looks for it in its module: there is no "
            f"{found.kind.__qualname__} in {found.kind.__module__}; define the class at the top of a module, or serve its file "
            "by xooai serve FILE.yaml --workers N"
        )
    if found.kind.__module__ == "__main__" and not _can_be_run_again():
        raise InvalidArgument(
            f"{found.kind.__name__} cannot be made in a worker: a program that was typed in, or a __main__.py, is not run again "
            "there; put the class into a module"
        )
    given = found.places, dict(found.names)
    try:
        is_plain = ast.literal_eval(repr(given)) == given
    except Exception:  # noqa: BLE001 - whatever an object inside shows itself as
        is_plain = False
    if not is_plain:
        raise InvalidArgument(_unknown(executor))
    return found


def _can_be_run_again() -> bool:
    """Whether a new process can have this one's `__main__`, as multiprocessing does it."""
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return not f".{main.__spec__.name}".endswith(".__main__")
    return os.path.isfile(getattr(main, "__file__", None) or "")


def _unknown(executor: Servable | type[Servable]) -> str:
    kind = executor if isinstance(executor, type) else type(executor)
    return (
        f"{executor!r} cannot be made again in a worker: its constructor got more than texts, numbers, truth values, lists and "
        f"dicts; give the class, which each worker makes for itself: serve({kind.__name__}, workers=...)"
    )


def made(recipe: Recipe | Written) -> Servable:
    """The executor or Flow; a parameter `device` that is not given gets this worker's. Raises what the constructor raises."""
    if isinstance(recipe, Written):
        with NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(recipe.text)
            file.flush()
            return recipe.kind.load(file.name, modules=recipe.modules)  # type: ignore[attr-defined,no-any-return]
    return recipe.kind(*recipe.places, **with_device(recipe.kind, recipe.places, recipe.names))


def with_device(kind: type, places: Sequence[Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """What a constructor gets by name, and by `device` the device of this process where it takes one that is not given."""
    device = os.environ.get(DEVICE)
    found = dict(names)
    if device is None:
        return found
    try:
        signature = inspect.signature(kind)
        if "device" in signature.parameters and "device" not in signature.bind_partial(*places, **names).arguments:
            found["device"] = device
    except (TypeError, ValueError):
        pass  # its constructor says what is wrong
    return found
