"""Plain nodes: called once, with what they are given and nothing to be asked or waited for before. Most are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from xooai.binding import INPUT, Rule
from xooai.combo import ComboDoc
from xooai.copies import copier, is_certain
from xooai.doc import Doc
from xooai.endpoint import Endpoint, Parameter
from xooai.flow.attempts import Limits
from xooai.flow.lent import Lent
from xooai.flow.packing import Packing
from xooai.flow.targets import Arguments, Inner, Target
from xooai.flow.unread import Seen, Unread, look
from xooai.graph import Step
from xooai.origin import Fresh, Sure
from xooai.payload import SCALARS, passes

__all__ = ["Plain"]

_Takes = Callable[[Any], Any]
"""Gives what a node is called with of a value: that one, or a copy. None where that is to be found out by writing it."""


class _Source(msgspec.Struct, frozen=True):
    """Where an argument comes from."""

    name: str
    need: str
    """The node whose reply it is; "" for the Flow's input."""
    takes: _Takes
    """Of a value that goes to this node alone."""
    copies: _Takes
    """Of one that others hold as well."""
    is_required: bool


class Plain(msgspec.Struct, frozen=True):
    """A node that has no condition, join, stream, list, limit or retry, with all that a call of it takes."""

    id: str
    step: Step
    target: Target
    packing: Packing | None
    is_last: bool
    """Whether nobody needs it."""
    takes_fresh: bool
    """Whether each reply that it gets goes to it alone."""
    inputs: Sequence[str] = ()
    """The parameters that the Flow's input fills."""
    sources: Sequence[_Source] = ()
    """Of all its arguments, where these may go from node to node as the objects that they are; else there are none."""

    @classmethod
    def of(
        cls, step: Step, target: Target, limits: Limits, packing: Packing | None, followers: Mapping[str, Sequence[str]]
    ) -> Plain | None:
        """None for a node of which more is said."""
        node = step.node
        if step.is_streamed or step.mapped or step.is_away or node.is_optional or not limits.are_none:
            return None
        if step.join is not None or step.when is not None:
            return None
        rule, own = step.binding.rule, step.binding.needs
        takes_fresh = (
            (rule is Rule.NAMES or (rule is Rule.FIRST and len(own) == 1))
            and not step.constants
            and all(need != INPUT and len(followers[need]) == 1 for need in own)
        )
        inputs = [name for name in step.endpoint.parameters if name not in step.constants]
        inputs = inputs if rule is Rule.INPUT else []
        is_last, sources = not followers[node.id], _sources(step, target, inputs, followers)
        return cls(node.id, step, target, packing, is_last, takes_fresh, inputs, sources)

    def arguments(self, replies: Mapping[str, Any], given: Any) -> Arguments | None:
        """What it is called with; None where it is not, as what it needs is not there. Raises XooaiError."""
        if self.packing is not None:
            packed = self.packing.request(replies, given)
            if packed is not None:
                return packed
        elif self.sources:
            sure = self.sure(replies, given)
            if sure is not None:
                return sure
        return self._written(replies, given)

    def _written(self, replies: Mapping[str, Any], given: Any) -> Arguments | None:
        """As `arguments`, of values that are written and read on their way."""
        step = self.step
        binding, constants = step.binding, step.constants
        found: dict[str, Any] | None
        if self.takes_fresh and all(need in replies for need in binding.needs):
            return Fresh([(binding.parameter or need, look(replies[need])) for need in binding.needs])
        if binding.rule is Rule.INPUT:
            values = look(given)
            found = {name: values[name] for name in self.inputs if name in values}
            if type(given) is Lent:
                found = Fresh(found)
        elif binding.rule is Rule.NAMES and all(need in replies for need in binding.needs):
            found = {need: replies[need] for need in binding.needs}
            for need, value in found.items():
                if isinstance(value, Unread):
                    found[need] = value.value()
        elif binding.rule is Rule.FIRST and binding.needs[0] in replies:
            found = {binding.parameter: look(replies[binding.needs[0]])}
        else:
            found = binding.arguments(Seen(replies))
        if constants and found is not None:
            found.update(constants)
        return found

    def sure(self, replies: Mapping[str, Any], given: Any) -> Sure | None:
        """What it is called with, where its `sources` have that; None where they have not, or have what is to be looked at."""
        is_lent = type(given) is Lent
        if is_lent and given.shares and self.inputs:
            return given.shares.pop(self.id)  # type: ignore[no-any-return]
        found, values = Sure(), None
        for source in self.sources:
            need = source.need
            if need:
                if need not in replies:
                    return None
                value = source.takes(replies[need])
            else:
                if values is None:
                    values = look(given)
                if source.name not in values:
                    if source.is_required:
                        return None
                    continue
                value = values[source.name]
                value = source.takes(value) if is_lent else source.copies(value)
            if value is None:
                return None
            found[source.name] = value
        return found


def _sources(
    step: Step, target: Target, inputs: Sequence[str], followers: Mapping[str, Sequence[str]]
) -> Sequence[_Source]:
    """Those of a node in this process; none where one is not to be had so."""
    endpoint, binding = step.endpoint, step.binding
    if (
        target.host
        or isinstance(target, Inner)
        or step.constants
        or endpoint.cache is not None
        or endpoint.batch is not None
    ):
        return ()
    if binding.rule is Rule.INPUT:
        needs = [(name, "") for name in inputs]
    elif binding.rule is Rule.NAMES or (binding.rule is Rule.FIRST and len(binding.needs) == 1):
        needs = [(binding.parameter or need, need) for need in binding.needs]
    else:
        return ()
    found = []
    for name, need in needs:
        parameter = endpoint.parameters[name]
        takes = _taken(parameter)
        if takes is None or need == INPUT:
            return ()
        copies = _copied(endpoint, parameter, takes)
        is_alone = need and len(followers[need]) == 1
        found.append(_Source(name, need, takes if is_alone or not need else copies, copies, parameter.required))
    return found


def _taken(parameter: Parameter) -> _Takes | None:
    """What takes values that nobody else holds."""
    annotation = parameter.annotation
    if not isinstance(annotation, type):
        return None
    if annotation in SCALARS or issubclass(annotation, ComboDoc):
        return lambda value: value if type(value) is annotation else None
    if issubclass(annotation, Doc):
        return lambda value: value if passes(annotation, value) else None
    return None


def _copied(endpoint: Endpoint, parameter: Parameter, takes: _Takes) -> _Takes:
    """As `takes`, of values that others hold as well."""
    annotation = parameter.annotation
    if annotation in SCALARS:  # it does not change, and nobody has looked at it
        return lambda value: value if type(value) is annotation and is_certain(value) else None
    if not issubclass(annotation, ComboDoc):
        return takes  # nor do they
    copy: _Takes | None = None

    def copies(value: Any) -> Any:
        nonlocal copy
        if copy is None:  # made for who needs it: its schema takes longer to compile than the rest of a plan
            copy = copier(endpoint.schema_of(parameter)) or _none
        return copy(value)

    return copies


def _none(value: Any) -> None:
    """Of a type whose values have to be written and read."""
