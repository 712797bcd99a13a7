"""What a server writes into the log of the program that embeds it: no forged lines, no secrets, whatever handlers raise."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from places import HERE

from xooai import Executor, Internal, post
from xooai.log import Seldom, logger

FORGED = "12:00:00 ERROR root: the disk is full"
SECRETS = ["hunter2", "hunter3", "hunter4"]


class Telling(Executor):
    """Says more in its errors than a log should hold."""

    @post
    def fail(self, given: str) -> None:
        try:
            raise KeyError(f"https://me:hunter2@host/a?sig=hunter3 {given}")
        except KeyError as error:
            raise RuntimeError(f"password=hunter4\r\n{FORGED}\n{FORGED}\x1b[31m\u2028{FORGED}") from error


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log of a program that set logging up itself, as most do."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def test_a_failing_handler_forges_no_line_and_tells_no_secret(log: io.StringIO) -> None:
    with Telling() as telling, Telling.at(telling.start(HERE)[0]) as client, pytest.raises(Internal):
        client.fail(given=f"\n{FORGED}")
    written = log.getvalue()
    assert "telling/fail failed" in written
    assert "RuntimeError: " in written
    assert "KeyError: " in written
    assert not [line for line in written.splitlines() if line.startswith("12:00:00")]
    assert not [secret for secret in (*SECRETS, "\x1b", "\u2028", "\r") if secret in written]


@pytest.mark.parametrize("name", ["xooai", "xooai.http", "xooai.access"])
def test_a_message_is_one_line_of_bounded_length(name: str, log: io.StringIO, caplog: pytest.LogCaptureFixture) -> None:
    with Telling() as telling:
        telling.start(HERE)
    caplog.set_level(logging.INFO, name)
    logging.getLogger(name).info("%s said %s", "http://me:hunter2@host", f"\x1b[31m\n{FORGED}" + 9_000 * "x")
    (line,) = [line for line in log.getvalue().splitlines() if "said" in line]
    assert len(line) < 3_000
    assert "hunter2" not in line
    assert "\\x1b[31m" in line


def test_the_exception_itself_stays_at_hand_for_tools_that_take_it_apart(caplog: pytest.LogCaptureFixture) -> None:
    with Telling() as telling, pytest.raises(Internal):
        telling.post(on="fail", given="x")
    found: Any = caplog.records[-1].exc_info
    assert found[0] is RuntimeError


def test_what_strangers_cause_at_any_rate_is_told_now_and_then_with_how_often_it_was(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    seldom = Seldom(logger("xooai.http"), logging.WARNING)
    for number in range(1000):
        seldom.tell("%d is too many", number)
    monkeypatch.setattr("xooai.log.PERIOD", 0.0)  # a minute later
    for _ in range(2):
        seldom.tell("again %s", "and again")

    assert [line.partition("xooai.http: ")[2] for line in log.getvalue().splitlines()] == [
        "0 is too many",
        "again and again; 999 more like it came before",
        "again and again",
    ]
