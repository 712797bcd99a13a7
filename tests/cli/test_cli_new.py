"""`xooai new` writes a project that runs and tests itself."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command_line import ANYWHERE, PATIENCE, Xooai, serving

from surroundings import unmeasured, without_options


@pytest.fixture
def project(xooai: Xooai, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert xooai("new", "my-Reader2").code == 0
    return tmp_path / "my-Reader2"


def test_it_says_what_to_do_next(xooai: Xooai, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    lines = [line.strip() for line in xooai("new", "my-reader").out.splitlines()]

    assert lines[-4:] == ["cd my-reader", "pip install -e '.[dev]'", "pytest", "xooai serve my_reader:MyReader"]


def test_the_tests_of_a_new_project_pass(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]

    ended = subprocess.run(
        command, cwd=project, env=without_options(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 passed" in ended.stdout


def test_a_new_project_is_served_and_called_as_its_readme_says(project: Path, xooai: Xooai) -> None:
    with serving("my_reader2:MyReader2", "--url", ANYWHERE, "--shortest", "3", cwd=project) as server:
        ended = xooai("post", f"{server.url}/my_reader2/count", "doc=to be or not to be")

    assert (
        "xooai post http://127.0.0.1:8080/my_reader2/count doc='to be or not to be'"
        in (project / "README.md").read_text()
    )
    assert ended.out.splitlines() == ["words: 1", "longest:", "  - not"]


def test_a_new_project_is_formatted_and_typed(project: Path) -> None:
    for tool in (
        ("ruff", "check", "--no-cache"),
        ("ruff", "format", "--check", "--no-cache"),
        ("mypy", "--strict", "--cache-dir=/dev/null"),
    ):
        pytest.importorskip(tool[0])
        command = [sys.executable, "-m", *tool, "my_reader2"]
        ended = subprocess.run(
            command, cwd=project, env=unmeasured(), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_metadata_of_a_new_project_is_sound(project: Path) -> None:
    about = tomllib.loads((project / "pyproject.toml").read_text())

    assert about["project"]["name"] == "my-reader2"
    assert about["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["my_reader2"]


def test_nothing_is_overwritten(project: Path, xooai: Xooai) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}

    ended = xooai("new", project.name)

    assert ended.code == 1
    assert "exists already" in ended.line
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "name", ["1st", "a b", "../up", "a.b", "a--b", "", "-x-", "é", "x" * 65, "class", "json", "text", "docs", "xooai"]
)
def test_a_name_that_does_not_do_is_refused(
    name: str, xooai: Xooai, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    ended = xooai("new", "--", name)

    assert ended.code == 2
    assert ended.line.endswith("see: xooai new --help")
    assert list(tmp_path.iterdir()) == []
