"""`xooai plugins` tells what is installed, where it came from, and what it lacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import PATIENCE, Xooai, spawned


def test_our_drivers_are_listed_with_their_distribution(xooai: Xooai) -> None:
    rows = [line.split() for line in xooai("plugins").out.splitlines()]

    assert rows[0] == ["SCHEME", "KIND", "DISTRIBUTION", "MODULE", "STATE"]
    assert ["http://", "driver", "xooai", "xooai_http.plugin", "loads"] in rows
    assert ["https://", "driver", "xooai", "xooai_http.plugin", "loads"] in rows


GOOD = """
from xooai.plugins import hookimpl
from xooai.testing import MemoryStore
print('good is imported')
class Stores:
    def open(self, url, options):
        return MemoryStore(url)
@hookimpl
def xooai_store(scheme):
    return Stores()
"""


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Somebody else's distribution: a store that loads, one that lacks a module, one that breaks, a claim on http."""
    about = tmp_path / "xooai_foreign-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: xooai-foreign\nVersion: 1.0\n")
    stores = "good = foreign_good\nlacking = foreign_lacking\nbroken = foreign_broken"
    (about / "entry_points.txt").write_text(
        f"[xooai.stores]\n{stores}\n[xooai.drivers]\nhttp = foreign_http\nfoo = foreign_lacking\n"
    )
    (tmp_path / "foreign_good.py").write_text(GOOD)
    (tmp_path / "foreign_lacking.py").write_text("import boto_that_is_not_there\n")
    (tmp_path / "foreign_broken.py").write_text("raise ValueError('a bad day')\n")
    (tmp_path / "foreign_http.py").write_text("open('taken_over', 'w').close()\n")
    return tmp_path


def listed(foreign: Path) -> tuple[dict[tuple[str, str], str], str]:
    """The states by scheme and distribution, and stderr."""
    path = os.pathsep.join(filter(None, (str(foreign), os.environ.get("PYTHONPATH"))))
    with spawned("plugins", cwd=foreign, env={"PYTHONPATH": path}) as process:
        out, err = process.communicate(timeout=PATIENCE)
    rows = [line.split(maxsplit=4) for line in out.splitlines()[1:]]
    return {(scheme, distribution): state for scheme, _, distribution, _, state in rows}, err


def test_our_stores_are_listed_beside_the_drivers(xooai: Xooai) -> None:
    rows = [line.split() for line in xooai("plugins").out.splitlines()]

    assert ["file://", "store", "xooai", "xooai_fsspec.local", "loads"] in rows


def test_a_plugin_that_does_not_load_says_why_and_hides_no_other(foreign: Path) -> None:
    states, err = listed(foreign)

    assert states["good://", "xooai-foreign"] == "loads"
    assert "boto_that_is_not_there" in states["lacking://", "xooai-foreign"]
    assert states["broken://", "xooai-foreign"] == (
        "broken:// cannot be used, its plugin 'xooai-foreign' fails: ValueError: a bad day"
    )
    assert (
        states["foo://", "xooai-foreign"]
        == "foo:// needs the module 'boto_that_is_not_there'; try: pip install 'xooai-foreign'"
    )
    assert states["http://", "xooai"] == "loads"
    assert err == "good is imported\n"


def test_a_scheme_of_ours_is_not_taken_over(foreign: Path) -> None:
    states, _ = listed(foreign)

    assert states["http://", "xooai-foreign"] == "not used: http:// is xooai's own"
    assert not (foreign / "taken_over").exists()
