"""Plain nodes: called once, with what they are given and nothing to be asked or waited for before. Most are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from xooai.binding import INPUT, Rule
from xooai.flow.attempts import Limits
from xooai.flow.lent import Lent
from xooai.flow.packing import Packing
from xooai.flow.targets import Arguments, Target
from xooai.flow.unread import Seen, Unread, look
from xooai.graph import Step
from xooai.origin import Fresh

__all__ = ["Plain"]


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
        return cls(
            node.id, step, target, packing, not followers[node.id], takes_fresh, inputs if rule is Rule.INPUT else ()
        )

    def arguments(self, replies: Mapping[str, Any], given: Any) -> Arguments | None:
        """What it is called with; None where it is not, as what it needs is not there. Raises XooaiError."""
        if self.packing is not None:
            packed = self.packing.request(replies, given)
            if packed is not None:
                return packed
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
