"""Files that documents write for `path()`: gone with their documents, and after a kill with the next that is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from xooai import File

PATIENCE = 20  # seconds
PROGRAM = """
import sys
from xooai import File
kept = [File(value=b"one"), File(value=b"two")]
print(*[file.path() for file in kept], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def running(place: Path) -> tuple[subprocess.Popen[str], list[Path]]:
    """A process that holds two documents with files."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(place)},
    )
    assert process.stdout is not None
    return process, [Path(one) for one in process.stdout.readline().split()]


def ended(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=PATIENCE)


def test_files_are_this_users_and_go_with_their_documents(place: Path) -> None:
    first, second = File(value=b"one"), File(value=b"two")
    assert [first.path().read_bytes(), second.path().read_bytes()] == [b"one", b"two"]
    for path in (first.path(), second.path()):
        assert path.stat().st_mode & 0o777 == 0o400
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.parent.parent.stat().st_mode & 0o777 == 0o700
    gone = first.path()
    del first
    assert not gone.parent.exists()
    assert second.path().read_bytes() == b"two"
    del second
    assert list(place.iterdir()) == []


def test_files_are_written_although_somebody_has_cleared_up(place: Path) -> None:
    first = File(value=b"one")
    folder = first.path().parent.parent
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    second = File(value=b"two")
    assert second.path().read_bytes() == b"two"
    del first, second
    assert list(place.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there nothing tells who is gone")
def test_after_a_kill_the_next_file_takes_away_what_is_left_and_not_what_is_held(place: Path) -> None:
    killed, left = running(place)
    living, held = running(place)
    try:
        killed.kill()
        ended(killed)
        assert killed.returncode == -signal.SIGKILL
        assert all(path.exists() for path in left)

        one = File(value=b"three")
        one.path()

        assert not any(path.parent.parent.exists() for path in left)
        assert [path.read_bytes() for path in held] == [b"one", b"two"]
    finally:
        ended(living)
    del one
    assert list(place.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there nothing tells who is gone")
def test_what_is_no_folder_of_such_files_stays(place: Path) -> None:
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "held").touch()
    (place / "xooai-files-link").symlink_to(place / "elsewhere")
    (place / "xooai-files-new").mkdir()  # not held yet: it is being made
    (place / "xooai-files-file").touch()
    (place / "xooai-files-odd").mkdir()
    (place / "xooai-files-odd" / "held").symlink_to(place / "xooai-files-file")
    (place / "xooai-other").mkdir()
    (place / "xooai-other" / "held").touch()
    if os.geteuid() == 0:
        (place / "xooai-files-others").mkdir()
        (place / "xooai-files-others" / "held").touch()
        os.chown(place / "xooai-files-others", 65534, 65534)
    before = sorted(place.rglob("*"))
    one = File(value=b"one")
    one.path()
    del one
    assert sorted(place.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_a_fork_has_a_folder_of_its_own(place: Path) -> None:
    first = File(value=b"one")
    first.path()
    child = os.fork()
    if not child:
        second = File(value=b"two")
        is_right = second.path().parent.parent != first.path().parent.parent
        del second, first
        os._exit(0 if is_right and len(list(place.iterdir())) == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert first.path().read_bytes() == b"one"
