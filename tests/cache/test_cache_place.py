"""Whether there can be a cache where it is to be, told before anybody needs it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xooai import FailedPrecondition
from xooai.cache_place import make_named, obstacle


def test_nothing_is_in_the_way_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOOAI_CACHE", str(tmp_path / "not" / "yet"))
    assert obstacle() == ""
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XOOAI_CACHE", str(tmp_path / "file" / "cache"))
    assert obstacle().endswith(f"{tmp_path}/file is no folder; XOOAI_CACHE names another place")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("XOOAI_CACHE", str(tmp_path / "cache"))
    assert f"may not write to {tmp_path}" in obstacle()


def test_where_there_is_no_home_the_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XOOAI_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert "no home for a cache; XOOAI_CACHE says where" in obstacle()


def test_a_folder_that_is_named_is_made_for_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "not" / "yet"
    monkeypatch.setenv("XOOAI_CACHE", str(folder))
    for _ in range(2):
        make_named()
    assert [one.stat().st_mode & 0o777 for one in (folder, folder.parent)] == [0o700, 0o700]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="nobody may write to Linux's /proc")
def test_a_folder_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOOAI_CACHE", "/proc/none")
    with pytest.raises(
        FailedPrecondition, match=r"the cache cannot be at /proc/none: .*; XOOAI_CACHE names another place$"
    ):
        make_named()


def test_a_disk_that_is_full_is_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("XOOAI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.mkdir", full)
    make_named()


def served(folder: Path, **environment: str) -> tuple[str, str, int]:
    """The first line of a server's banner, its log, and its exit code; it is told to end once it serves."""
    for module in ("uvicorn", "click"):
        pytest.importorskip(module)
    (folder / "it.py").write_text(
        "from xooai import Executor, post\nclass It(Executor):\n    @post\n    def x(self): ...\n"
    )
    others = {name: value for name, value in os.environ.items() if name != "XOOAI_CACHE"}
    command = [sys.executable, "-m", "xooai", "serve", "it:It", "--url", "http://127.0.0.1:0"]
    with subprocess.Popen(
        command, cwd=folder, env={**others, **environment}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        banner = process.stdout.readline()
        if banner:
            process.terminate()
        _, told = process.communicate(timeout=60)
    return banner, told, process.returncode


@pytest.mark.slow
def test_a_server_says_at_its_start_in_one_line_that_there_can_be_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    banner, told, code = served(tmp_path, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert (banner[:12], told.count("\n"), code) == ("xooai serves", 1, 0)
    assert f"no contents can be kept for callers: the cache cannot be at {tmp_path}/file" in told


@pytest.mark.slow
def test_a_server_does_not_start_where_one_is_named_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    banner, told, code = served(tmp_path, XOOAI_CACHE=str(tmp_path / "file"))
    assert (banner, told.count("\n"), code) == ("", 1, 1)
    assert f"the cache cannot be at {tmp_path}/file: {tmp_path}/file is no folder; XOOAI_CACHE names another" in told
