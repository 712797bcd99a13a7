"""A put into a directory that goes wrong anywhere is there as a whole, or told, or not there: never in part."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import xooai_fsspec.directory

FAULTS = Path(__file__).parent / "faults.py"
TRACED = FAULTS.with_name("traced_faults.py")
CALLS = 40  # of the system for one durable put, at least
ACKED, TOLD, KILLED = 0, 1, -9
assert xooai_fsspec.directory


def swept(folder: Path, how: str, program: Path = FAULTS) -> list[dict[str, Any]]:
    """What came of a put that goes wrong at the first call, at the second, and so on."""
    command = [sys.executable, str(program), str(folder), how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    assert len(found) >= CALLS, ended.stderr
    return found


def is_whole(end: dict[str, Any]) -> bool:
    """Whether what is there verifies, and is there if that was said; and whether the next put finds all well."""
    return (
        all(end["right"])
        and (end["code"] != ACKED or end["right"] == [True])
        and end["again"] == ACKED
        and end["after"]["right"] == [True]
    )


def test_a_put_that_is_killed_at_any_call_leaves_nothing_partial(tmp_path: Path) -> None:
    ends = swept(tmp_path, "kill")

    assert {end["code"] for end in ends} == {KILLED}
    assert [end for end in ends if not is_whole(end)] == []
    assert max(end["drafts"] for end in ends) == 1
    assert {len(end["right"]) for end in ends} == {0, 1}  # some were killed before it was published, some after


@pytest.mark.slow
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT", "EMFILE"])
def test_a_put_that_meets_an_error_at_any_call_tells_it_or_is_right(tmp_path: Path, error: str) -> None:
    ends = swept(tmp_path, error)

    assert {end["code"] for end in ends} <= {ACKED, TOLD}
    assert [end for end in ends if not is_whole(end)] == []
    assert sum(end["drafts"] for end in ends) <= 8, "only where what fails is removing the draft, and closing before it"


@pytest.mark.slow
def test_a_put_whose_writes_are_short_is_whole(tmp_path: Path) -> None:
    ends = swept(tmp_path, "short")

    assert {end["code"] for end in ends} == {ACKED}
    assert [end for end in ends if not is_whole(end) or end["drafts"]] == []


@pytest.mark.system
def test_a_put_that_the_kernel_kills_at_any_call_leaves_nothing_partial(tmp_path: Path) -> None:
    ends = swept(tmp_path, "signal=KILL", TRACED)

    assert {end["code"] for end in ends} == {KILLED}
    assert [end for end in ends if not is_whole(end)] == []
    assert {len(end["right"]) for end in ends} == {0, 1}


@pytest.mark.system
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EINTR", "EMFILE"])
def test_a_put_whose_calls_the_kernel_fails_tells_it_or_is_right(tmp_path: Path, error: str) -> None:
    ends = swept(tmp_path, f"error={error}", TRACED)

    assert {end["code"] for end in ends} <= {ACKED, TOLD}
    assert [end for end in ends if not is_whole(end)] == []
