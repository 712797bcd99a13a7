"""Executor classes by `module:Class` or `path/to/file.py:Class`, and executors made of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from xooai.cli.failure import reason
from xooai.executor import Executor
from xooai.hints import nearest
from xooai.lazy import lazy

if TYPE_CHECKING:
    from xooai import flow as flows
    from xooai import workers
    from xooai.config import executors, names
    from xooai.describe import Described
else:
    flows = lazy("xooai.flow")
    executors = lazy("xooai.config.executors")
    names = lazy("xooai.config.names")
    workers = lazy("xooai.workers")

__all__ = ["allowed", "flow_from", "from_file", "is_file", "load", "made", "unmade"]


def load(target: str) -> type[Executor]:
    """The class that `target` names; its module is looked for in the current directory first.

    Raises ClickException with one line that names the module and why it cannot be imported.
    """
    module_name, _, name = target.rpartition(":")
    if not module_name or not name.replace(".", "_").isidentifier():
        module_name, name = target.rstrip(":"), ""
    module = _imported(module_name)
    known = _executors(module)
    listed = ", ".join(f"{module_name}:{one}" for one in known) or "none"
    if not name:
        raise click.UsageError(f"{target!r} names no class; write module:Class, here one of: {listed}")
    try:
        found = attrgetter(name)(module)
    except AttributeError:
        raise click.ClickException(
            f"{module_name!r} has no {name!r}{nearest(name, known)}; executors in it: {listed}"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Executor)):
        what = "a class" if isinstance(found, type) else f"an instance of {type(found).__name__}"
        raise click.ClickException(f"{target!r} is {what}, not a subclass of xooai.Executor; executors in it: {listed}")
    return found


def is_file(target: str) -> bool:
    """Whether a target is a YAML file, not a class."""
    return target.endswith((".yaml", ".yml"))


def from_file(target: str, modules: Sequence[str]) -> tuple[type[Executor], Mapping[str, Any]]:
    """The class that a YAML file tells of, and what its constructor gets. Raises XooaiError with the line."""
    with redirect_stdout(sys.stderr):
        kind = executors.kind_of(target, allowed(modules), Executor)
    return kind.kind, kind.with_  # type: ignore[return-value] # a class of executors: that was asked for


def flow_from(path: str, modules: Sequence[str]) -> flows.Flow:
    """The Flow that a YAML file tells of. Raises FlowError with the line."""
    given = allowed(modules)
    with redirect_stdout(sys.stderr):
        return flows.Flow.load(path, modules=given.names)


def allowed(modules: Sequence[str]) -> names.Modules:
    """The modules that a file may name: looked for in the current directory first, those in files of their own run."""
    _look_here()
    return names.Modules([_imported(one).__name__ if one.endswith(".py") else one for one in modules])


def made(cls: type[Executor], options: Mapping[str, Any]) -> Executor:
    """An executor, by its constructor. Raises ClickException with one line for whatever that raises."""
    device = "XOOAI_DEVICE" in os.environ
    try:
        return cls(**(workers.with_device(cls, (), options) if device else options))
    except Exception as error:
        raise click.ClickException(f"{cls.__name__}() failed: {reason(error)}") from error


def unmade(target: str) -> Described:
    """What describes the class that `target` names: an instance whose constructor never ran."""
    return object.__new__(load(target))._xooai_local()


def _executors(module: ModuleType) -> list[str]:
    """The executors that a module defines itself."""
    return [
        name
        for name, found in vars(module).items()
        if isinstance(found, type)
        and issubclass(found, Executor)
        and found.__module__ == module.__name__
        and not name.startswith("_")
    ]


def _imported(name: str) -> ModuleType:
    is_file = name.endswith(".py")
    if not is_file and not all(part.isidentifier() for part in name.split(".")):
        raise click.UsageError(f"{name!r} is not the name of a module; write module:Class or path/to/file.py:Class")
    if is_file and not Path(name).is_file():
        near = nearest(name, [str(path) for path in Path(name).parent.glob("*.py")])
        raise click.ClickException(f"there is no file {name!r}{near}")
    _look_here()
    try:
        with redirect_stdout(sys.stderr):  # what a module prints while it is imported is none of our output
            return _from_file(Path(name).resolve()) if is_file else import_module(name)
    except (Exception, SystemExit) as error:
        raise click.ClickException(_why_not(name, error)) from error


def _look_here() -> None:
    here = os.getcwd()
    if here not in sys.path[:1]:
        sys.path.insert(0, here)


def _from_file(path: Path) -> ModuleType:
    """Run a file as Python itself would: its directory is where it imports from."""
    for name in (path.stem, str(path)):
        if getattr(sys.modules.get(name), "__file__", None) == str(path):
            return sys.modules[name]
    name = str(path) if path.stem in sys.modules else path.stem  # a file called json.py is not to replace json
    spec = spec_from_file_location(name, path)
    assert spec is not None  # every .py has a loader
    assert spec.loader is not None
    sys.path.insert(0, str(path.parent))
    module = sys.modules[name] = module_from_spec(spec)  # pydantic looks a postponed annotation up in its module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _why_not(name: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name is not None and f"{name}.".startswith(f"{error.name}."):
        local = nearest(name, [path.stem for path in Path.cwd().glob("*.py")])
        return f"no module {name!r} in the current directory or among the installed packages{local}"
    return f"cannot import {name!r}: {reason(error)}"
