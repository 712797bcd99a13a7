"""How a graph is run, once the endpoints of its nodes are known: their types fit, and it is an endpoint itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union

import msgspec
from typing_extensions import TypedDict

from xooai.binding import INPUT, Binding, Rule
from xooai.chains import check_readers, incoming_of
from xooai.conditions import Condition
from xooai.driver import Shape
from xooai.endpoint import DICT, Endpoint, Parameter
from xooai.endpoint import arguments as arguments_of
from xooai.errors import FlowError
from xooai.fitting import fits, is_open, same, shown
from xooai.graph import Graph, Node, Step
from xooai.schema import Schema
from xooai.untyped import ANYTHING, untyped

__all__ = ["Plan", "planned"]


class Plan(msgspec.Struct, frozen=True):
    """A graph whose types fit: how it is run, and the endpoint that it is."""

    steps: Mapping[str, Step]
    followers: Mapping[str, Sequence[str]]
    leaves: Sequence[str]
    endpoint: Endpoint
    warnings: Sequence[str]

    def input(self, given: Mapping[str, Any]) -> Any:
        """What the id `input` stands for: the one argument, where one is taken, else all of them by name."""
        one = _the_one(self.endpoint.parameters)
        if one is not None:
            return given.get(one.name, one.default)
        return {name: value for name, value in given.items() if name != self.endpoint.incoming}


def planned(graph: Graph, endpoints: Mapping[str, Endpoint], owner: str) -> Plan:
    """How the graph is run; that of an optional node may be unknown. Raises FlowError for what does not fit."""
    graph.check()
    steps = _steps(graph, endpoints)
    leaves = graph.leaves()
    check_readers([id for id, step in steps.items() if step.gives_stream], graph.followers(), leaves)
    parameters = _parameters(steps)
    incoming = incoming_of({id: step.endpoint for id, step in steps.items() if step.source == INPUT}, parameters)
    if not any(step.binding.rule is Rule.INPUT for step in steps.values()):
        raise FlowError("no node says what the Flow's input is: one without needs= or join= takes it by its parameters")
    uncertain = _uncertain(steps)
    one = _the_one(parameters)
    given: dict[str, Any] = {INPUT: dict[str, Any] if one is None else one.annotation}
    warnings: list[str] = []
    for id, step in steps.items():
        _check_types(step, steps, given, step.binding.used(uncertain))
        if isinstance(step.when, Condition):
            own = {name: one.annotation for name, one in step.endpoint.parameters.items()}
            step.when.check(given if step.node.needs else own, f"node {id!r}: when=")
        given[id] = step.gives
        warnings += _ignored(step, uncertain)
        warnings += _untyped(step, steps, uncertain)
    gives_stream = steps[leaves[0]].gives_stream
    results = {id: (given[id], id in uncertain and not gives_stream) for id in leaves}
    endpoint = _endpoint(owner, parameters, results, incoming, gives_stream)
    return Plan(steps, graph.followers(), leaves, endpoint, warnings)


def _steps(graph: Graph, endpoints: Mapping[str, Endpoint]) -> dict[str, Step]:
    steps: dict[str, Step] = {}
    streams: set[str] = set()
    for id in graph.order():
        step = steps[id] = _step(graph.nodes[id], endpoints.get(id), streams)
        if step.gives_stream:
            streams.add(id)
    return steps


def _step(node: Node, endpoint: Endpoint | None, streams: set[str]) -> Step:
    """A node as it is run; one whose endpoint nobody knows, which is optional, is not."""
    if endpoint is not None:
        return node.bound(endpoint, streams)
    if not streams.isdisjoint(node.needs):
        raise FlowError(f"node {node.id!r} needs a stream, so it cannot be left out while its server is away")
    unknown = Endpoint("?", node.id, {}, Schema(arguments_of(node.id, {}), node.id), untyped(), is_async=True)
    return Step(node, unknown, Binding(Rule.INPUT), is_away=True)


def _check_types(step: Step, steps: Mapping[str, Step], given: Mapping[str, Any], used: Sequence[str]) -> None:
    items = step.endpoint.items
    if items is not None and step.source != INPUT and not fits(given[step.source], items.annotation):
        raise FlowError(
            f"types do not fit: {step.source}: {steps[step.source].calls} -> a stream of {shown(given[step.source])}, "
            f"{step.node.id}: {step.calls}({step.endpoint.incoming}: a stream of {shown(items.annotation)})"
        )
    for need in used:
        place = step.binding.places[need]
        wanted = list[place.annotation] if step.mapped else place.annotation  # type: ignore[name-defined]
        if step.join is not None:
            annotation, source = step.join.returns, f"{step.node.id}: join="
        else:
            annotation = given[need]
            source = need if need not in steps else f"{need}: {steps[need].calls}"
        if not fits(annotation, wanted):
            raise FlowError(
                f"types do not fit: {source} -> {shown(annotation)}, "
                f"{step.node.id}: {step.calls}({place.name}: {shown(wanted)})"
            )


def _ignored(step: Step, uncertain: set[str]) -> Iterator[str]:
    first, *_ = used = step.binding.used(uncertain) or [""]
    taken = set(used if step.join is None else step.join.names) | set(() if step.when is None else step.when.names)
    for need in step.binding.needs:
        if need in taken:
            continue
        if step.join is not None:
            yield f"{need}'s result is ignored: join= of {step.node.id} takes no parameter {need!r}"
        else:
            yield (
                f"{need}'s result is ignored: {step.node.id} takes {first}'s as {step.binding.parameter!r}, "
                f"and only waits for {need}; give join= to use both"
            )


def _untyped(step: Step, steps: Mapping[str, Step], uncertain: set[str]) -> Iterator[str]:
    """Documents that go where plain data alone is taken, which refuses them."""
    if step.join is not None:
        return
    for need in step.binding.used(uncertain):
        place = step.binding.places[need]
        if place.annotation is Any and need in steps and steps[need].endpoint.result.facts.documents:
            yield (
                f"{need}'s result is {shown(steps[need].gives)}, and {place.name!r} of {step.node.id} is Any, which takes "
                "plain data alone; annotate it with the type"
            )


def _uncertain(steps: Mapping[str, Step]) -> set[str]:
    """The nodes of which there may be no reply."""
    found: set[str] = set()
    for id, step in steps.items():
        there = [need for need in step.binding.needs if need not in found]
        is_missing = step.source in found or step.binding.is_skipped(there)
        if step.when is not None or step.node.is_optional or is_missing:
            found.add(id)
    return found


def _parameters(steps: Mapping[str, Step]) -> dict[str, Parameter]:
    """What the Flow takes: what its roots take, by name. Raises FlowError where two of them differ."""
    found: dict[str, tuple[Parameter, str]] = {}
    for id, step in steps.items():
        if step.binding.rule is not Rule.INPUT:
            continue
        for name, parameter in step.endpoint.parameters.items():
            if name in step.node.args:
                continue
            if name not in found:
                found[name] = parameter, id
                continue
            known, first = found[name]
            if not same(known.annotation, parameter.annotation):
                raise FlowError(
                    f"the Flow's input {name!r} is {shown(known.annotation)} to {first}, and "
                    f"{shown(parameter.annotation)} to {id}; equal names have equal types"
                )
            found[name] = _both(known, parameter), first
    return {name: parameter for name, (parameter, _) in found.items()}


def _both(one: Parameter, other: Parameter) -> Parameter:
    """One parameter for two of the same name: the type that says more, and required where one of them is."""
    annotation = other.annotation if is_open(one.annotation) else one.annotation
    needed = one if one.required else other
    return Parameter(one.name, annotation, needed.required, needed.default)


def _the_one(parameters: Mapping[str, Parameter]) -> Parameter | None:
    """The only parameter, or the only required one."""
    if len(parameters) == 1:
        return next(iter(parameters.values()))
    needed = [parameter for parameter in parameters.values() if parameter.required]
    return needed[0] if len(needed) == 1 else None


def _endpoint(
    owner: str,
    parameters: dict[str, Parameter],
    leaves: Mapping[str, tuple[Any, bool]],
    incoming: Endpoint | None,
    gives_stream: bool,
) -> Endpoint:
    taken = "" if incoming is None else incoming.incoming
    where = f"{owner}.call"
    try:
        return Endpoint(
            name="call",
            owner=owner,
            parameters=parameters,
            arguments=Schema(arguments_of(where, parameters), where),
            result=_result(owner, leaves),
            is_async=True,
            summary=f"Run the Flow {owner}.",
            order=tuple(filter(None, (taken, *parameters))),
            shape=(Shape.CLIENT if taken else Shape.UNARY) | (Shape.SERVER if gives_stream else Shape.UNARY),
            incoming=taken,
            items=None if incoming is None else incoming.items,
        )
    except TypeError as error:  # types that pass alone, and not beside each other
        raise FlowError(str(error)) from error


def _result(owner: str, leaves: Mapping[str, tuple[Any, bool]]) -> Schema:
    where = f"{owner}.call -> "
    if any(annotation is ANYTHING for annotation, _ in leaves.values()):
        return untyped()
    types = {
        id: Union[annotation, None] if is_uncertain else annotation  # noqa: UP007 - it may be None itself
        for id, (annotation, is_uncertain) in leaves.items()
    }
    if len(types) == 1:
        return Schema(next(iter(types.values())), where)
    name = re.sub(r"\W", "_", f"{owner}_results")
    results = TypedDict(name, types)  # type: ignore[misc]
    setattr(results, "__pydantic_config__", {"json_schema_extra": {DICT: True}})  # noqa: B010 - pydantic's own way
    return Schema(results, where)
