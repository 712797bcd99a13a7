"""The command that runs the suite tries a few failed tests once more, alone, and says so."""

import subprocess
import sys
from pathlib import Path

import pytest

from surroundings import unmeasured

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from environment import suite
sys.exit(suite(sys.executable, "-q", "-p", "xdist", "-n", "2", cwd=Path.cwd()))
"""
TESTS = """
import os
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range({stalled}))
def test_stalled(number):
    with open(f"attempts-{{number}}", "a") as file:
        file.write("PYTEST_XDIST_WORKER" in os.environ and "beside " or "alone ")
    assert Path(f"attempts-{{number}}").read_text() != "beside "

def test_good():
    with open("good", "a") as file:
        file.write("once ")

def test_other():
    assert {other}
"""


def ended(folder: Path, stalled: int, other: bool = True) -> tuple[int, str]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_few.py").write_text(TESTS.format(stalled=stalled, other=other))
    quick = {name: value for name, value in unmeasured().items() if not name.startswith("PYTEST_XDIST_")}
    quick["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-c", PROGRAM, str(SCRIPTS)]
    found = subprocess.run(command, cwd=folder, env=quick, capture_output=True, text=True, check=False)
    return found.returncode, found.stdout


def test_those_that_hold_alone_are_listed(tmp_path: Path) -> None:
    code, said = ended(tmp_path, 2)
    assert code == 0
    assert said.endswith(
        "failed at first and held alone, which is to be looked into:\n"
        "  test_few.py::test_stalled[0]\n  test_few.py::test_stalled[1]\n"
    )
    assert (tmp_path / "attempts-0").read_text() == "beside alone "
    assert (tmp_path / "good").read_text() == "once "


def test_one_that_fails_alone_too_fails_the_suite(tmp_path: Path) -> None:
    code, said = ended(tmp_path, 1, other=False)
    assert code == 1
    assert "once more, with no test beside: 2 that failed" in said
    assert "held alone" not in said


@pytest.mark.parametrize(("stalled", "code"), [(0, 0), (6, 1)])
def test_none_and_many_are_tried_no_more(tmp_path: Path, stalled: int, code: int) -> None:
    found, said = ended(tmp_path, stalled)
    assert found == code
    assert "once more" not in said
    assert (tmp_path / "good").read_text() == "once "
