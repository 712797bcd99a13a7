"""Flows in YAML files, read: nodes by their keys, what they use by its name, and every mistake with its line."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, environ, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from xooai.binding import INPUT
from xooai.config.checked import Said, checked
from xooai.config.executors import kind_said
from xooai.config.names import Modules, is_name
from xooai.config.reading import Written, read_file
from xooai.declare import checked_name
from xooai.errors import FlowError, InvalidArgument, XooaiError
from xooai.flow.making import Maker
from xooai.flow.manner import Filed
from xooai.served import Served

if TYPE_CHECKING:
    from xooai.flow.flow import Flow

__all__ = ["FileOfFlow", "FileOfNode", "loaded"]

FILES = 100  # that one Flow is read of, each counted as often as it is named: two in each of ten would be 1,024
_SUFFIXES = (".yaml", ".yml")
_Place = tuple[str | int, ...]

F = TypeVar("F", bound="Flow")


def _several(given: Any) -> Any:
    """One id alone, or a list of them; a tuple, which stays as it is checked."""
    return (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list) else given


class FileOfFlow(Said):
    """The keys of a Flow in a file."""

    flow: str | None = None
    gateway: str | None = None
    store: str | None = None
    executors: dict[str, Any] | None = None
    nodes: list[Any]


class FileOfNode(Said):
    """The keys of a node: what `Flow.add` takes."""

    id: str | None = None
    use: Any
    on: str | None = None
    with_: dict[str, Any] | None = Field(default=None, alias="with")
    needs: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    args: dict[str, Any] | None = None
    join: str | None = None
    when: Any = None
    timeout: float | None = None
    retry: int = 0
    hedge: float | None = None
    optional: bool = False
    each: bool = False
    metadata: dict[str, str] | None = None
    metadata_env: dict[str, str] | None = None
    trust: str | None = None


def loaded(path: str | PathLike[str], modules: Modules, kind: type[F]) -> F:
    """The Flow that a file tells of. Raises FlowError with the line, and what reading the file raises."""
    try:
        return _Loading(modules, kind).file(fspath(path), ())  # type: ignore[no-any-return]
    except InvalidArgument as error:
        raise FlowError(error.message) from error


class _Loading:
    def __init__(self, modules: Modules, kind: type[Flow]) -> None:
        self._modules, self._kind = modules, kind
        self._files = 0

    def file(self, path: str, around: tuple[str, ...]) -> Any:
        """The Flow in the file at `path`; `around` are the files that it stands in. Raises InvalidArgument."""
        said = read_file(path)
        if not isinstance(said.value, dict):
            said.refuse("a Flow is a mapping with the key 'nodes', a list")
        if "use" in said.value and "nodes" not in said.value:
            said.refuse(f"this is an executor: Executor.load(...), or xooai serve {path}", ("use",))
        return self._flow(said, (), (*around, _real(path)))

    def _flow(self, said: Written, place: _Place, around: tuple[str, ...]) -> Flow:
        keys = checked(FileOfFlow, said, place, "a Flow")
        if keys.flow is not None:
            try:
                checked_name(keys.flow)
            except ValueError as error:
                said.refuse(str(error), (*place, "flow"))
        try:
            flow = self._kind(name=keys.flow, gateway=keys.gateway, store=keys.store)
        except XooaiError as error:
            said.refuse(error.message, (*place, "store"))
        shared = {name: self._shared(name, said, (*place, "executors", name), around) for name in keys.executors or ()}
        for number in range(len(keys.nodes)):
            self._add(flow, said, (*place, "nodes", number), around, shared)
        _check_needs(flow, said, (*place, "nodes"))
        return flow

    def _shared(self, name: str, said: Written, place: _Place, around: tuple[str, ...]) -> Maker:
        """An executor that nodes share: made once for all of them."""
        use: Any = said.value
        for step in place:
            use = use[step]
        if not name or not {"/", ":"}.isdisjoint(name) or name.endswith(_SUFFIXES):
            said.refuse(f"{name!r:.80} is no name for an executor here: a node's use would be a URL or a file", place)
        kind, with_ = self._used(use, said, place, around)
        if not (isinstance(kind, type) and issubclass(kind, Served)):
            said.refuse(
                f"{name!r:.80} is no executor; it takes module:Class, a file, or what such a file would say", place
            )
        try:
            return Maker(kind, with_ or {}, name)
        except FlowError as error:
            said.refuse(error.message, place)

    def _add(
        self, flow: Flow, said: Written, place: _Place, around: tuple[str, ...], shared: Mapping[str, Maker]
    ) -> None:
        node = checked(FileOfNode, said, place, "a node")
        if isinstance(node.use, str) and node.use in shared:
            use, with_ = shared[node.use], None
        else:
            use, with_ = self._used(node.use, said, (*place, "use"), around)
        if node.with_ is not None:
            with_ = {**(with_ or {}), **node.with_}
        more = {
            name: getattr(node, name)
            for name in ("id", "on", "needs", "args", "timeout", "retry", "hedge", "optional", "each", "trust")
        }
        more["join"] = None if node.join is None else self._function(node.join, said, (*place, "join"))
        more["when"] = self._function(node.when, said, (*place, "when")) if isinstance(node.when, str) else node.when
        more["metadata"] = _metadata(node, said, place)
        try:
            flow.add(use, with_=with_, **more)
        except FlowError as error:
            said.refuse(error.message, place)

    def _used(
        self, use: Any, said: Written, place: _Place, around: tuple[str, ...]
    ) -> tuple[Any, dict[str, Any] | None]:
        """What `Flow.add` is to be told to use, and what the constructor of a class gets."""
        if isinstance(use, dict):
            return (self._flow(said, place, around), None) if "nodes" in use else self._executor(said, place)
        if not isinstance(use, str) or "://" in use:
            return use, None
        if use.endswith(_SUFFIXES):
            return self._inner(use, said, place, around)
        if is_name(use):
            return self._found(use, said, place), None
        if ":" in use:
            said.refuse(f"{use!r:.200} is neither a URL nor a class or a function, which is written module:name", place)
        return use, None

    def _inner(
        self, use: str, said: Written, place: _Place, around: tuple[str, ...]
    ) -> tuple[Any, dict[str, Any] | None]:
        """Of another file, found from the folder of this one."""
        path = str(Path(around[-1]).parent / use)
        if _real(path) in around:
            said.refuse(f"{use!r:.200} leads back to itself: a Flow cannot be a node of itself", place)
        self._files += 1
        if self._files > FILES:
            said.refuse(f"more than {FILES} files are named, in one another or more than once", place)
        try:
            inner = read_file(path)
        except InvalidArgument:
            raise
        except XooaiError as error:
            said.refuse(error.message, place)
        if isinstance(inner.value, dict) and "nodes" in inner.value:
            return self._flow(inner, (), (*around, _real(path))), None
        return self._executor(inner, ())

    def _executor(self, said: Written, place: _Place) -> tuple[Any, dict[str, Any]]:
        kind = kind_said(said, place, self._modules, Served)
        return kind.kind, dict(kind.with_)

    def _found(self, name: str, said: Written, place: _Place) -> Any:
        try:
            return self._modules.find(name)
        except InvalidArgument as error:
            said.refuse(error.message, place)

    def _function(self, name: str, said: Written, place: _Place) -> Any:
        try:
            return self._modules.function(name)
        except InvalidArgument as error:
            said.refuse(error.message, place)


def _metadata(node: FileOfNode, said: Written, place: _Place) -> dict[str, str] | None:
    """What the file says, and what stands in the variables of the environment that it names."""
    if node.metadata is None and node.metadata_env is None:
        return None
    found: dict[str, str] = {name: Filed(value) for name, value in (node.metadata or {}).items()}
    for name, variable in (node.metadata_env or {}).items():
        at = (*place, "metadata_env", name)
        if name in found:
            said.refuse(f"metadata {name!r:.80} is given twice: as it is, and by a variable", at)
        value = environ.get(variable)
        if not value:
            said.refuse(
                f"the variable {variable!r:.80} of the environment is not set; metadata {name!r:.80} is in it", at
            )
        found[name] = Filed(value, variable)
    return found


def _check_needs(flow: Flow, said: Written, place: _Place) -> None:
    """Refuse what the graph does, at the line of the first node with a need that there is not."""
    nodes = flow._planning.graph.nodes
    lost = (
        number for number, one in enumerate(nodes.values()) if any(id not in nodes and id != INPUT for id in one.needs)
    )
    try:
        flow._planning.graph.check()
    except FlowError as error:
        number = next(lost, None)
        said.refuse(error.message, place if number is None else (*place, number, "needs"))


def _real(path: str) -> str:
    return str(Path(path).resolve())
