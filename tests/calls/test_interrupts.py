"""KeyboardInterrupt: raised by a handler it is a failure of that call, pressed by a user it stops what they wait for."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading

import pytest
from places import HERE, PATIENCE

from xooai import Executor, Internal, post


class Interrupting(Executor):
    """Stops what runs it, in every way that a handler can."""

    @post
    async def on_loop(self) -> int:
        raise KeyboardInterrupt

    @post
    def in_thread(self) -> int:
        raise KeyboardInterrupt

    @post
    async def in_task(self) -> int:
        async def interrupting() -> None:
            raise KeyboardInterrupt

        await asyncio.create_task(interrupting())
        return 1

    @post
    async def leave_in_task(self) -> int:
        async def leaving() -> None:
            sys.exit(3)

        await asyncio.create_task(leaving())
        return 1

    @post
    def press(self) -> int:
        signal.raise_signal(signal.SIGINT)
        return 1

    @post
    async def fine(self) -> int:
        return 1


@pytest.mark.parametrize("endpoint", ["on_loop", "in_thread"])
def test_one_that_a_handler_raises_is_a_failure_of_its_call(endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    with Interrupting() as executor, Interrupting.at(executor.start(HERE)[0]) as client:
        with pytest.raises(Internal) as caught:
            client.post(on=endpoint)
        assert caught.value.id
        assert client.post(on="fine") == 1
    assert "KeyboardInterrupt" in caplog.text


def test_in_process_too_where_nobody_can_have_pressed_it(caplog: pytest.LogCaptureFixture) -> None:
    """On the loop of blocking calls, which is not the main thread."""
    with Interrupting() as executor:
        with pytest.raises(Internal):
            executor.post(on="on_loop", timeout=PATIENCE)
        with pytest.raises(Internal):
            executor.post(on="in_thread", timeout=PATIENCE)
        assert executor.post(on="fine", timeout=PATIENCE) == 1


@pytest.mark.parametrize("endpoint", ["in_task", "leave_in_task"])
def test_a_task_that_stops_the_loop_of_blocking_calls_stops_it_for_nobody_else(
    endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio ends a loop's run where one of its tasks raises KeyboardInterrupt or SystemExit."""
    found: list[object] = []

    def call() -> None:
        with Interrupting() as executor:
            try:
                executor.post(on=endpoint)
            except BaseException as error:  # noqa: BLE001 - what it is is not what is asked here
                found.append(error)
            found.append(executor.post(on="fine"))

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(PATIENCE)
    assert not caller.is_alive()
    assert found[1:] == [1]
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING][:1] == ["xooai"]


def test_one_that_a_user_presses_interrupts_a_handler_that_runs_in_the_main_thread() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as every program begins
    try:
        with Interrupting() as executor, pytest.raises(KeyboardInterrupt):
            executor.post(on="press")
    finally:
        signal.signal(signal.SIGINT, before)
