"""Flows in one another: how deep they may stand, and that none holds itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xooai.errors import FlowError
from xooai.flow.targets import Inner

if TYPE_CHECKING:
    from xooai.flow.flow import Flow

__all__ = ["DEEPEST", "check_depth", "check_inner"]

DEEPEST = 30  # Flows in one another: a call goes through all of them on one stack, of which Python allows 1,000 frames


def check_inner(outer: Flow, flow: Flow) -> None:
    """Raise FlowError for a Flow that cannot stand in `outer`."""
    found: dict[Flow, int] = {}
    levels = _levels(flow, found)
    if outer in found:
        raise FlowError(f"{flow!r} holds {outer!r}: a Flow cannot be a node of itself")
    if levels >= DEEPEST:
        raise FlowError(
            f"{flow!r} is {levels} Flows in one another, and with {outer!r} it would be one more; at most {DEEPEST} stand so"
        )


def check_depth(flow: Flow) -> None:
    """Raise FlowError where Flows that were added to those in this one make it too deep."""
    levels = _levels(flow, {})
    if levels > DEEPEST:
        raise FlowError(f"{flow!r} is {levels} Flows in one another; at most {DEEPEST} stand so")


def _levels(flow: Flow, found: dict[Flow, int]) -> int:
    """How many Flows stand in one another, from this one on; `found` gets it of each that is in it."""
    if flow not in found:
        inside = [target.flow for target in flow._planning.targets.values() if isinstance(target, Inner)]
        found[flow] = 1 + max((_levels(one, found) for one in inside), default=0)
    return found[flow]
