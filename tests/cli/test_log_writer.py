"""The log is written aside: what takes it may be full, closed, stuck or slow, and nobody waits for it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click", reason="the command line needs click; it comes with: pip install -e '.[cli]'")
writers: Any = pytest.importorskip("xooai.cli.log_writer")

PATIENCE = 10.0  # seconds


def record(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "x", "msg": text, "levelname": "INFO", "levelno": logging.INFO})


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    closed(writing)


@pytest.fixture
def written_to(pipe: tuple[int, int]) -> Iterator[Callable[..., Any]]:
    """A writer to a descriptor, which is closed at the end; nobody holds it up any more by then."""
    made: list[Any] = []

    def make(descriptor: int, **options: Any) -> Any:
        made.append(writers.LogWriter(descriptor, **options))
        return made[-1]

    yield make
    closed(pipe[0])
    for writer in made:
        writer.flush()
        writer.close()


def closed(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        pass  # the test has closed it


def until(path: Path, text: str) -> str:
    """What a file says once it has this text."""
    end = time.monotonic() + PATIENCE
    while text not in (said := path.read_text()):
        assert time.monotonic() < end, said
        time.sleep(0.002)
    return said


def test_records_are_lines_in_their_order(tmp_path: Path, written_to: Callable[..., Any]) -> None:
    with (tmp_path / "log").open("ab") as file:
        writer = written_to(file.fileno())
        for number in range(3_000):
            writer.emit(record(f"{number} {'x' * (number % 300)}"))
        writer.flush()
        writer.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(3_000))


def test_nobody_waits_for_a_pipe_that_nobody_reads(pipe: tuple[int, int], written_to: Callable[..., Any]) -> None:
    writer = written_to(pipe[1], waiting=100_000)
    began = time.monotonic()
    for number in range(20_000):
        writer.emit(record(f"{number} {'x' * 90}"))
    assert time.monotonic() - began < PATIENCE
    assert writer._size <= 100_000
    read = b""
    while b"records of the log are lost" not in read:
        read += os.read(pipe[0], 65_536)
        writer.emit(record("again"))
    lines = read.decode().splitlines()
    assert all(line == "again" or len(line) > 60 for line in lines[:-1])


def test_a_full_disk_loses_records_and_says_how_many_once_there_is_room(
    tmp_path: Path, written_to: Callable[..., Any]
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        writer = written_to(full)
        for number in range(10):
            writer.emit(record(str(number)))
        writer.flush()
        with (tmp_path / "log").open("ab") as file:
            os.dup2(file.fileno(), full)  # from now on there is room
        writer.emit(record("after"))
        said = until(tmp_path / "log", "after")
        writer.flush()
        writer.close()
    finally:
        os.close(full)
    assert said == "10 records of the log are lost: they could not be written, or nobody took them in time\nafter\n"


def test_a_closed_pipe_ends_nothing(pipe: tuple[int, int], written_to: Callable[..., Any]) -> None:
    os.close(pipe[0])
    writer = written_to(pipe[1])
    for number in range(100):
        writer.emit(record(str(number)))
    writer.flush()
    assert "xooai-log" in [one.name for one in threading.enumerate()]


def test_where_no_thread_can_be_had_what_needs_no_wait_is_written(
    pipe: tuple[int, int], written_to: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = written_to(pipe[1])
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        writer.emit(record("one"))
        assert os.read(pipe[0], 100) == b"one\n"
        for _ in range(100):
            writer.emit(record("x" * 1023))  # nobody reads, and nobody waits
        writer.emit(record("last"))
    writer.emit(record("and on"))
    read = b""
    while not read.endswith(b"and on\n"):
        read += os.read(pipe[0], 65536)
    assert read.count(b"\n") == 102


def test_a_record_that_cannot_be_formatted_is_lost_alone(tmp_path: Path, written_to: Callable[..., Any]) -> None:
    with (tmp_path / "log").open("ab") as file:
        writer = written_to(file.fileno())
        bad = logging.makeLogRecord({"msg": "%d", "args": ("x",)})
        writer.emit(bad)
        writer.emit(record("good"))
        said = until(tmp_path / "log", "good")
        writer.flush()
        writer.close()
    assert said.startswith("1 records of the log are lost")
