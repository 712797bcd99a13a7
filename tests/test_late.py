"""What is done a moment later: by one thread, which sleeps and leaves where there is nothing to do."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from xooai import bell, late
from xooai.late import Late

PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run

CHILD = """
import os, threading
from xooai.late import later

done = threading.Event()
later(done.set)
assert done.wait(20)
child = os.fork()
if not child:
    again = threading.Event()
    later(again.set)
    os._exit(0 if again.wait(20) else 1)
assert os.waitpid(child, 0)[1] == 0
done.clear()
later(done.set)
assert done.wait(20)
"""


@pytest.fixture(params=[None, bell.LockBell], ids=["quickest-bell", "lock-bell"])
def one(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Late]:
    if request.param:
        monkeypatch.setattr(bell, "make", request.param)
    yield Late()
    until(lambda: not own())


def own() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "xooai-late"]


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_what_is_given_is_called_by_another_thread_in_its_order(one: Late) -> None:
    called: list[tuple[int, int]] = []

    def calls(number: int) -> None:
        called.append((number, threading.get_ident()))

    for number in range(100):
        one.give(partial(calls, number))

    until(lambda: len(called) == 100)

    assert [number for number, _ in called] == list(range(100))
    assert {thread for _, thread in called}.isdisjoint({threading.get_ident()})


def test_it_is_not_called_before_a_moment_has_passed(one: Late) -> None:
    called: list[float] = []
    for _ in range(10):
        given = time.monotonic()
        one.give(lambda: called.append(time.monotonic()))
        until(lambda: called)
        assert called.pop() - given >= late.MOMENT


@pytest.mark.parametrize("pause", [0.0, 0.006, 0.05, 0.12], ids=str)
def test_what_is_given_while_it_looks_sleeps_or_has_left_is_called(one: Late, pause: float) -> None:
    called: list[int] = []
    for turn in range(8):
        one.give(partial(called.append, turn))
        time.sleep(pause)

    until(lambda: called == list(range(8)))


def test_it_leaves_where_there_is_nothing_to_do(one: Late) -> None:
    done = threading.Event()
    one.give(done.set)
    assert done.wait(PATIENCE)

    until(lambda: not own())


def test_what_is_taken_back_is_not_called(one: Late) -> None:
    called: list[int] = []
    done = threading.Event()
    numbers = [one.give(partial(called.append, number)) for number in range(10)]
    one.give(done.set)

    for number in numbers[::2]:
        one.take_back(number)
    assert done.wait(PATIENCE)
    one.take_back(numbers[1])  # too late

    assert called == [1, 3, 5, 7, 9]


def test_nothing_of_what_was_called_is_held(one: Late) -> None:
    class Work:
        def __call__(self) -> None:
            done.set()

    done = threading.Event()
    work = Work()
    held = weakref.ref(work)
    one.give(work)
    del work
    assert done.wait(PATIENCE)
    until(lambda: not one._is_awake)
    assert held() is None, "it is held while the thread that has called it sleeps"


def test_it_stays_awake_while_all_is_taken_back(one: Late) -> None:
    """To wake it would cost each of those more than to have nothing to do."""
    rung: list[int] = []
    one.give(lambda: None)
    assert one._bell is not None
    ring = one._bell.ring

    def ringing() -> None:
        rung.append(given)
        ring()

    one._bell.ring = ringing  # type: ignore[method-assign]
    for given in range(300):  # noqa: B007 - for `ringing`
        one.take_back(one.give(lambda: None))
        time.sleep(0.0005)

    assert len(rung) < 75


def test_what_fails_is_logged_and_the_others_are_called(one: Late, caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    with caplog.at_level(logging.ERROR, "xooai"):
        one.give(lambda: 1 / 0)
        one.give(done.set)
        assert done.wait(PATIENCE)

    assert "ZeroDivisionError" in caplog.text


def test_more_than_may_wait_are_called_at_once(one: Late, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "_LIMIT", 0)
    called: list[int] = []

    one.give(lambda: called.append(threading.get_ident()))

    assert called == [threading.get_ident()]


def test_where_no_thread_can_be_had_it_is_called_at_once(one: Late, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    called: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        one.give(lambda: called.append(threading.get_ident()))
    assert called == [threading.get_ident()]

    one.give(lambda: called.append(0))
    until(lambda: called[1:] == [0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_the_child_of_a_fork_has_a_thread_of_its_own() -> None:
    subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", CHILD], check=True, timeout=PATIENCE * 4)
