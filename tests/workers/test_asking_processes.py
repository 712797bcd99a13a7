"""Questions to all processes of a server, where there is one."""

from __future__ import annotations

import asyncio

from xooai import control


def test_a_process_alone_has_its_own_answer() -> None:
    control.answer("test.alone", lambda: b"mine")

    assert asyncio.run(control.ask("test.alone")) == [b"mine"]


def test_the_last_answer_given_counts() -> None:
    control.answer("test.twice", lambda: b"first")
    control.answer("test.twice", lambda: b"second")

    assert asyncio.run(control.ask("test.twice")) == [b"second"]


def test_what_nobody_answers_to_has_no_answers() -> None:
    assert asyncio.run(control.ask("test.unknown")) == []
