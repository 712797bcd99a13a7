"""What a server by workers has in the folder for temporary files: gone with it, or with the next one after a kill."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from pathlib import Path

import pytest
from supervised import PROGRAM, running

pytest.importorskip("fcntl")

from xooai.workers.folder import own_folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left(place: Path, name: str) -> Path:
    """What a supervisor leaves that was killed."""
    folder = place / f"xooai-workers-{name}"
    folder.mkdir(0o700)
    (folder / "held").touch()
    (folder / "isolated-0").touch()
    return folder


def test_the_folder_is_there_for_the_block_and_for_its_user(place: Path) -> None:
    with own_folder() as folder:
        assert os.stat(folder).st_mode & 0o777 == 0o700
        Path(folder, "socket").touch()
    assert not list(place.iterdir())


def test_what_was_left_is_removed_and_what_is_held_is_not(place: Path) -> None:
    gone, held = left(place, "gone"), left(place, "held")
    with open(held / "held") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with own_folder() as first, own_folder() as second:
            assert set(place.iterdir()) == {held, Path(first), Path(second)}
    assert not gone.exists()


def test_what_is_none_of_these_folders_stays(place: Path) -> None:
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "held").touch()
    (place / "xooai-workers-link").symlink_to(place / "elsewhere")
    (place / "xooai-workers-new").mkdir()  # not held yet: it is being made
    (place / "xooai-workers-file").touch()
    odd = left(place, "odd")
    (odd / "held").unlink()
    (odd / "held").symlink_to(place / "xooai-workers-file")
    (place / "xooai-other").mkdir()
    before = sorted(place.rglob("*"))
    with own_folder():
        pass
    assert sorted(place.rglob("*")) == before


@pytest.mark.slow
def test_after_a_kill_the_next_server_clears_up(tmp_path: Path) -> None:
    for module in ("uvicorn", "grpc"):
        pytest.importorskip(module)
    command = [str(PROGRAM), "http://127.0.0.1:0", "1"]
    with running(command, TMPDIR=str(tmp_path)) as first:
        (before,) = tmp_path.glob("xooai-workers-*")
        first.end(signal.SIGKILL)
    assert before.exists()
    with running(command, TMPDIR=str(tmp_path)) as second:
        (after,) = tmp_path.glob("xooai-workers-*")
        assert after != before
        second.end(signal.SIGTERM)
    assert not list(tmp_path.glob("xooai-workers-*"))
