"""Whether there can be a cache where it is to be, told before anybody needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xooai.cache_place import obstacle


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


@pytest.mark.slow
def test_a_server_says_it_at_its_start_in_one_line(tmp_path: Path) -> None:
    for module in ("uvicorn", "click"):
        pytest.importorskip(module)
    (tmp_path / "file").touch()
    (tmp_path / "it.py").write_text(
        "from xooai import Executor, post\nclass It(Executor):\n    @post\n    def x(self): ...\n"
    )
    environment = {**os.environ, "XOOAI_CACHE": str(tmp_path / "file")}
    command = [sys.executable, "-m", "xooai", "serve", "it:It", "--url", "http://127.0.0.1:0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        _, told = process.communicate(timeout=60)
    assert told.count("\n") == 1
    assert f"no contents can be kept for callers: the cache cannot be at {tmp_path}/file" in told
