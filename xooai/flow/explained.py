"""What a Flow does, in words: where each node runs, what it takes from where, and what crosses a wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xooai.binding import INPUT, Rule
from xooai.conditions import Condition
from xooai.endpoint import Endpoint, Parameter
from xooai.fitting import shown
from xooai.flow.targets import Target
from xooai.graph import Step
from xooai.plan import Plan

__all__ = ["explained"]


def explained(name: str, plan: Plan, targets: Mapping[str, Target], warnings: Sequence[str]) -> str:
    """The text of `Flow.explain`."""
    taken = ", ".join([*_incoming(plan.endpoint), *map(_parameter, plan.endpoint.parameters.values())])
    lines = [f"{name}({taken}) -> {_given(plan.endpoint.gives_stream, plan.endpoint.result.annotation)}"]
    for step in plan.steps.values():
        lines += _step(step, targets)
    leaves = list(plan.leaves)
    lines.append(f"result: the reply of {leaves[0]}" if len(leaves) == 1 else f"result: a dict of {', '.join(leaves)}")
    return "\n".join([*lines, *(f"warning: {warning}" for warning in warnings)])


def _step(step: Step, targets: Mapping[str, Target]) -> Iterator[str]:
    target = targets[step.node.id]
    yield f"{step.node.id}: {target.path} {f'at {target.host}' if target.host else 'in process'}"
    yield f"    gets {_gets(step)}"
    if step.node.args:
        yield f"    constants: {', '.join(step.node.args)}"
    yield f"    gives {_given(step.gives_stream, step.gives)}"
    if step.source and not step.endpoint.shape:
        yield f"    called for each item of {step.source}"
    if step.mapped:
        yield f"    called for each item of {step.mapped}"
    wires = [need for need in (step.node.needs or (INPUT,)) if _crosses(need, step.node.id, targets)]
    if wires:
        yield f"    over the wire: {', '.join(wires)}"
    if step.when is not None:
        holds = step.when.text if isinstance(step.when, Condition) else "its condition holds"
        yield f"    only when {holds}"
    if step.node.is_optional:
        yield "    optional: the Flow goes on without it where it fails"


def _gets(step: Step) -> str:
    streams = [] if not step.endpoint.incoming else [f"the stream {step.endpoint.incoming} from {step.source}"]
    return ", ".join([*streams, *filter(None, [_values(step)])]) or "nothing"


def _values(step: Step) -> str:
    binding = step.binding
    if binding.rule is Rule.INPUT:
        own = [one for name, one in step.endpoint.parameters.items() if name not in step.node.args]
        return f"the Flow's input: {', '.join(map(_parameter, own)) or 'nothing'}" if own or not step.source else ""
    if binding.rule is Rule.JOIN:
        return f"{binding.parameter} from join= of {', '.join(binding.needs)}"
    if binding.rule is Rule.LIST:
        return f"{binding.parameter} as a list of {', '.join(binding.needs)}"
    if binding.rule is Rule.FIRST:
        first, *others = binding.needs
        return f"{binding.parameter} from {first}" + (f", after {', '.join(others)}" if others else "")
    return ", ".join(f"{place.name} from {need}" for need, place in binding.places.items())


def _given(is_stream: bool, annotation: Any) -> str:
    return f"a stream of {shown(annotation)}" if is_stream else shown(annotation)


def _incoming(endpoint: Endpoint) -> list[str]:
    """The stream that is taken, beside the parameters."""
    return [] if endpoint.items is None else [f"{endpoint.incoming}: a stream of {shown(endpoint.items.annotation)}"]


def _parameter(parameter: Parameter) -> str:
    default = "" if parameter.required else f" = {parameter.default!r}"
    return f"{parameter.name}: {shown(parameter.annotation)}{default}"


def _crosses(need: str, id: str, targets: Mapping[str, Target]) -> bool:
    """Whether what a node gets from another goes to, or comes from, another process."""
    return bool(targets[id].host) or (need in targets and bool(targets[need].host))
