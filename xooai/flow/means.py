"""What a Flow is run by, made once of its plan: where calls go, their limits, and what is known of each node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from xooai.binding import INPUT, Rule
from xooai.flow.attempts import Limits
from xooai.flow.budget import AT_ONCE
from xooai.flow.packing import Packing
from xooai.flow.plain import Plain
from xooai.flow.relay import Hop
from xooai.flow.targets import Target
from xooai.plan import Plan
from xooai.threads import SIZE, Threads

__all__ = ["Means"]


class Means(msgspec.Struct, frozen=True):
    """What a Flow is run by: where each node's calls go, their limits, and the threads of `join=` and `when=`."""

    targets: Mapping[str, Target]
    limits: Mapping[str, Limits]
    threads: Threads
    helpers: Threads
    """Those for nodes beside others, where no loop runs."""
    packings: Mapping[str, Packing] = {}
    """Of the nodes elsewhere whose requests may be made of what is unread."""
    has_room: bool = False
    """Whether there are so few calls in a run that all may be made at once."""
    plain: Mapping[str, Plain] = {}
    """The nodes of which nothing more is said than what they are called with."""
    needed: Mapping[str, int] = {}
    """How many replies each node waits for, that of the Flow's input left out."""
    first: Sequence[str] = ()
    """The nodes that wait for none."""
    line: Sequence[Plain] = ()
    """All nodes, each after those that it needs, where each is in this process and takes its arguments as they are."""
    roots: Sequence[Plain] = ()
    """Those of them that take what the Flow is given."""
    is_forked: bool = False
    """Whether nodes may run beside each other."""
    hops: Mapping[str, Hop] = {}
    """All nodes, where each is a plain one at a server."""

    @classmethod
    def of(cls, plan: Plan, targets: Mapping[str, Target], limits: Mapping[str, Limits], threads: Threads) -> Means:
        """What a plan is run by."""
        steps = plan.steps
        packings = {id: Packing.of(step, plan.endpoint, targets[id]) for id, step in steps.items()}
        found = {id: packing for id, packing in packings.items() if packing is not None}
        has_room = len(steps) <= AT_ONCE and not any(step.mapped or step.source for step in steps.values())
        plain = {
            id: Plain.of(step, targets[id], limits[id], packings[id], plan.followers) for id, step in steps.items()
        }
        needed = {id: sum(need != INPUT for need in step.node.needs) for id, step in steps.items()}
        first = [id for id, step in steps.items() if not step.node.needs]
        first += [id for id in plan.followers[INPUT] if not needed[id]]
        kept = {id: one for id, one in plain.items() if one is not None} if has_room else {}
        relays = len(kept) == len(found) == len(steps) and all(packing.target.starts for packing in found.values())
        hops = {id: Hop(one, found[id]) for id, one in kept.items()} if relays else {}
        line = (
            [kept[id] for id in steps] if len(kept) == len(steps) and all(one.sources for one in kept.values()) else []
        )
        return cls(
            targets=dict(targets),
            limits=dict(limits),
            threads=threads,
            helpers=Threads(SIZE * len(steps)),  # as many as there are where each executor has its own
            packings=found,
            has_room=has_room,
            plain=kept,
            needed=needed,
            first=first,
            line=line,
            roots=[one for one in line if one.step.binding.rule is Rule.INPUT],
            is_forked=len(first) > 1 or any(len(some) > 1 for some in plan.followers.values()),
            hops=hops,
        )
