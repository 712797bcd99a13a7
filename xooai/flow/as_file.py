"""Flows in YAML files, written: what a file cannot say is an error that names the node."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

from xooai.codec import MSGPACK
from xooai.config.executors import named, said_of
from xooai.config.names import name_of
from xooai.config.writing import Inline, plain, written
from xooai.driver import DialOptions
from xooai.errors import FlowError
from xooai.flow.flow import Flow
from xooai.flow.making import Maker
from xooai.flow.manner import Filed
from xooai.served import Served

if TYPE_CHECKING:
    from xooai.flow.nodes import Used
    from xooai.graph import Node

__all__ = ["as_file"]


def as_file(flow: Flow) -> str:
    """The text of a file that tells of this Flow. Raises FlowError."""
    return written(_said(flow))


def _said(flow: Flow) -> dict[str, Any]:
    """The keys that tell of a Flow."""
    found: dict[str, Any] = {}
    try:
        if flow._xooai_name is not None:
            found["flow"] = flow._xooai_name
        if flow._xooai_gateway is not None:
            found["gateway"] = plain(flow._xooai_gateway, "gateway=")
        if flow._xooai_layers:
            raise ValueError("layers= are functions with what they hold, and a file cannot say them")
        for name, store in flow._xooai_stores.given.items():
            if not isinstance(store, str):
                raise ValueError(f"store= is an open {type(store).__name__}; a file holds the URL of one")
            found["store"] = f"{name}={store}"
    except ValueError as error:
        raise FlowError(f"{flow!r} cannot be written: {error}") from None
    nodes = flow._planning.graph.nodes
    if not nodes:
        raise FlowError(f"{flow!r} cannot be written: it has no nodes; add(use=...) adds one")
    shared = _shared(flow)
    if shared:
        found["executors"] = dict(shared.values())
    found["nodes"] = [_node(flow, node, shared) for node in nodes.values()]
    return found


def _node(flow: Flow, node: Node, shared: Mapping[int, tuple[str, Any]]) -> dict[str, Any]:
    used, limits = flow._used[node.id], flow._planning.limits[node.id]
    try:
        found = {"id": plain(node.id, "its id"), **_use(used, shared)}
        if used.on is not None:
            found["on"] = used.on
        if node.needs:
            found["needs"] = plain(list(node.needs), "needs=")
        if node.args:
            found["args"] = Inline(plain(dict(node.args), "args="))
        if node.join is not None:
            found["join"] = name_of(node.join)
        if node.when is not None:
            when = node.when
            found["when"] = plain(dict(when), "when=") if isinstance(when, Mapping) else name_of(when)
        found |= _manner(used)
    except ValueError as error:
        raise FlowError(f"node {node.id!r} cannot be written: {error}") from None
    rest = {
        "timeout": limits.timeout,
        "retry": limits.retry,
        "hedge": limits.hedge,
        "optional": node.is_optional,
        "each": node.each,
    }
    return found | {key: value for key, value in rest.items() if value}


def _use(used: Used, shared: Mapping[int, tuple[str, Any]]) -> dict[str, Any]:
    """The keys `use` and `with` of a node. Raises ValueError."""
    use = used.use
    if isinstance(use, Served) and used.on is not None and "/" in used.on:
        raise ValueError(f"on={used.on!r} is an endpoint elsewhere; give its URL as use=")
    if id(use) in shared:
        return {"use": shared[id(use)][0]}
    if isinstance(use, type):
        return _class(named(use, used.with_ or {}))
    if not isinstance(use, Served):
        return {"use": name_of(use) if callable(use) else plain(use, "use=")}
    if use._xooai_remote is not None:
        return {"use": _client(use)}
    if isinstance(use, Flow):
        return {"use": _said(use)}
    return _class(said_of(use))


def _manner(used: Used) -> dict[str, Any]:
    """The keys that say how a server is called. What a program gives may be secret, so it is not written. Raises ValueError."""
    given = used.metadata or {}
    for name, value in given.items():
        if not isinstance(value, Filed):
            raise ValueError(
                f"its metadata {name!r} may be secret, so it is not written; a file names the variable of the environment "
                "that has it: metadata_env"
            )
    filed = {name: value for name, value in given.items() if isinstance(value, Filed)}
    found = {
        "metadata": Inline({name: str(value) for name, value in filed.items() if not value.variable}),
        "metadata_env": Inline({name: value.variable for name, value in filed.items() if value.variable}),
        "trust": used.trust,
    }
    return {key: value for key, value in found.items() if value}


def _class(said: dict[str, Any]) -> dict[str, Any]:
    """An executor's keys as a node has them: what needs a mapping of its own stands in one."""
    with_ = {"with": said.pop("with")} if "with" in said else {}
    return {"use": said if len(said) > 1 else said["use"], **with_}


def _client(executor: Served) -> str:
    """The URL of a client that is as one made of it. Raises ValueError."""
    remote = executor._xooai_remote
    assert remote is not None
    usual = remote.timeout == 60 and remote.codec is MSGPACK and not remote.metadata and remote.options == DialOptions()
    if not usual or executor._xooai_layers or executor._xooai_stores:
        raise ValueError(f"it is a client of {remote.server} with options of its own; a file has the URL alone")
    if executor._xooai_name is None:
        return f"{remote.server}/{executor._xooai_class_name}"
    return f"{remote.server}/{executor._xooai_name}"


def _shared(flow: Flow) -> dict[int, tuple[str, dict[str, Any]]]:
    """The executors that several nodes share, and those that a file named: their names, and their keys. Raises FlowError."""
    uses: dict[int, list[str]] = {}
    for node, used in flow._used.items():
        is_own = isinstance(used.use, Served) and not isinstance(used.use, Flow) and used.use._xooai_remote is None
        if is_own or isinstance(used.use, Maker):
            uses.setdefault(id(used.use), []).append(node)
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for key, nodes in uses.items():
        use = flow._used[nodes[0]].use
        if len(nodes) > 1 or isinstance(use, Maker):
            name = _name(use.name, {name for name, _ in found.values()})
            try:
                found[key] = name, named(use.kind, use.with_) if isinstance(use, Maker) else said_of(use)
            except ValueError as error:
                raise FlowError(f"node {nodes[0]!r} cannot be written: {error}") from None
    return found


def _name(name: str, taken: Collection[str]) -> str:
    """The name, or with a number where it is taken."""
    wanted = name.replace(".", "_")
    return next(one for number in count(1) if (one := f"{wanted}{number if number > 1 else ''}") not in taken)
