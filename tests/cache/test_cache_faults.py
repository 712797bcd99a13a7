"""A cache that goes wrong anywhere gives right bytes to its readers, and the next process finds it well."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FAULTS = Path(__file__).parent / "cache_faults.py"
RIGHT, KILLED = 0, -9
FEW, ALL = 67, 5  # every how many calls: of a scenario of some 1,500, most of which look into folders


def swept(folder: Path, how: str, step: int) -> list[dict[str, Any]]:
    """What came of readers that meet an error at one call, at a later one, and so on."""
    command = [sys.executable, str(FAULTS), str(folder), how, str(step)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    assert len(found) >= 1000 // step, ended.stderr
    return found


def is_well(end: dict[str, Any]) -> bool:
    """Whether the next process reads all, and leaves nothing that is wrong."""
    return end["again"] == RIGHT and all(end["after"]["right"])


@pytest.mark.parametrize("step", [FEW, pytest.param(ALL, marks=pytest.mark.slow)])
def test_a_reader_that_is_killed_at_any_call_leaves_a_cache_that_is_well(tmp_path: Path, step: int) -> None:
    ends = swept(tmp_path, "kill", step)

    assert {end["code"] for end in ends} == {KILLED}
    assert [end for end in ends if not is_well(end)] == []
    # What was corrupt from the beginning is there, until it was found and moved away.
    assert [end for end in ends if end["right"].count(False) + end["corrupt"] > 1] == []


@pytest.mark.slow
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EMFILE", "EACCES", "EROFS"])
def test_a_reader_that_meets_an_error_at_any_call_gets_right_bytes(tmp_path: Path, error: str) -> None:
    ends = swept(tmp_path, error, ALL)

    assert {end["code"] for end in ends} == {RIGHT}
    assert [end for end in ends if not is_well(end)] == []
    assert [end for end in ends if end["right"].count(False) + end["corrupt"] > 1] == []
