"""Who waits in a bounded line, who is next, and who has to go: told by calls without a server."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xooai.driver import Head
from xooai.layers.line import Full, Line, priority_of, tenant_of


@dataclass(eq=False)
class Caller:
    name: str
    tenant: str = "a"
    priority: int = 0
    size: int = 1


def names(line: Line[Caller]) -> str:
    """Those in the line, in the order of their turns."""
    found = []
    while (call := line.next()) is not None:
        found.append(call.name)
    return " ".join(found)


def joined(line: Line[Caller], *calls: Caller) -> list[str]:
    """Those who had to go for these."""
    return [lost.name for call in calls for lost in line.join(call)]


def test_tenants_take_turns_within_a_priority() -> None:
    line: Line[Caller] = Line(10)
    for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
        joined(line, Caller(name, name[0]))
    joined(line, Caller("a!", "a", 1), Caller("c?", "c", -1))
    assert names(line) == "a! a1 b1 c1 a2 b2 a3 c?"
    assert not len(line)


def test_of_a_full_line_the_last_goes_of_the_tenant_that_has_most() -> None:
    line: Line[Caller] = Line(4)
    joined(line, *(Caller(name, name[0]) for name in ("a1", "a2", "a3", "b1")))
    assert joined(line, Caller("b2", "b")) == ["a3"]
    with pytest.raises(Full):
        line.join(Caller("a4", "a"))
    with pytest.raises(Full):
        line.join(Caller("b3", "b"))
    assert joined(line, Caller("c1", "c")) == ["a2"]
    with pytest.raises(Full) as full:
        line.join(Caller("b3", "b"))
    assert full.value.is_own
    assert names(line) == "a1 b1 c1 b2"


def test_of_a_full_line_with_one_tenant_nobody_goes_for_another_of_his() -> None:
    line: Line[Caller] = Line(2)
    joined(line, Caller("a1"), Caller("a2"))
    with pytest.raises(Full) as full:
        line.join(Caller("a3"))
    assert not full.value.is_own


def test_a_line_is_full_of_bytes_too_and_nobody_goes_for_what_does_not_fit_after_all() -> None:
    line: Line[Caller] = Line(10, 100)
    joined(line, Caller("a1", size=40), Caller("a2", size=40), Caller("b1", "b", size=10))
    with pytest.raises(Full):
        line.join(Caller("b2", "b", size=90))
    assert joined(line, Caller("b3", "b", size=20)) == ["a2"]
    with pytest.raises(Full):
        line.join(Caller("b!", "b", -1, size=90))
    assert names(line) == "a1 b1 b3"
    assert joined(line, Caller("huge", size=1000)) == []  # one is always taken: its request is here already


def test_who_leaves_is_found_once() -> None:
    line: Line[Caller] = Line(3)
    one, other = Caller("a1"), Caller("a2")
    joined(line, one, other)
    assert line.leave(one)
    assert not line.leave(one)
    assert names(line) == "a2"
    assert not line.leave(other)


CALLS = st.tuples(st.sampled_from("abc"), st.integers(-1, 1), st.integers(0, 40))
STEPS = st.lists(st.one_of(CALLS, st.just("next"), st.integers(0, 10)), max_size=60)


@given(STEPS)
def test_whatever_comes_and_goes_all_are_accounted_for_and_bounds_hold(steps: list[object]) -> None:
    line: Line[Caller] = Line(5, 100)
    inside: list[Caller] = []
    numbers = count()
    for step in steps:
        if step == "next":
            call = line.next()
            assert (call is None) is (not inside)
            if call is not None:
                assert call.priority == max(one.priority for one in inside)
                first = next(one for one in inside if (one.tenant, one.priority) == (call.tenant, call.priority))
                assert call is first
                inside.remove(call)
        elif isinstance(step, int):
            if inside:
                assert line.leave(gone := inside.pop(step % len(inside)))
                assert not line.leave(gone)
        else:
            assert isinstance(step, tuple)
            call = Caller(str(next(numbers)), *step)
            try:
                lost = line.join(call)
            except Full:
                continue
            for one in lost:
                assert one.priority <= call.priority
                inside.remove(one)
            inside.append(call)
        assert len(line) == len(inside) <= 5
        assert sum(one.size for one in inside) <= 100
    assert len(names(line).split()) == len(inside)


@pytest.mark.parametrize(
    ("head", "tenant"),
    [
        (Head("/", identity="acme", peer="10.0.0.1:5"), "acme"),
        (Head("/", peer="10.0.0.1:5"), "10.0.0.1"),
        (Head("/", peer="[::ffff:10.0.0.1]:5"), "10.0.0.1"),
        (Head("/", peer="[2001:db8:1:2:3::4]:5"), "20010db800010002"),
        (Head("/", peer="[fe80::1%eth0]:5"), "fe80000000000000"),
        (Head("/", peer="2001:db8:1:2:3::4:5"), "20010db800010002"),
        (Head("/", peer="[nonsense]:5"), "[nonsense]"),
        (Head("/", peer="unix"), "unix"),
        (Head("/"), ""),
    ],
    ids=repr,
)
def test_callers_share_a_turn_by_identity_or_address(head: Head, tenant: str) -> None:
    assert tenant_of(head) == tenant


@pytest.mark.parametrize(
    ("given", "priority"), [("9", 9), ("-9", -9), (" 3 ", 3), ("10", 0), ("high", 0), ("1.5", 0), ("", 0)]
)
def test_a_priority_is_one_digit_and_anything_else_is_none(given: str, priority: int) -> None:
    assert priority_of(Head("/", metadata={"xooai-priority": given})) == priority
    assert priority_of(Head("/")) == 0
