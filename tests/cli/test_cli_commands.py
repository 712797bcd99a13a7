"""What holds for all commands: help, exit codes, one line for a failure, and what works without the extra."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from command_line import PATIENCE, Xooai, spawned

import xooai as package

COMMANDS = ("serve", "post", "describe", "export", "plugins", "cache", "new", "flow")


def test_help_names_every_command(xooai: Xooai) -> None:
    ended = xooai("--help")

    assert ended.code == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in ended.out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_shows_how_it_is_typed(xooai: Xooai, command: str) -> None:
    ended = xooai(command, "--help")

    assert ended.code == 0
    assert f"Usage: xooai {command}" in ended.out
    assert f"Examples:\n    xooai {command}" in ended.out


def test_help_loads_nothing_heavy() -> None:
    watch = "import atexit, sys; heavy = {'pydantic', 'rich', 'pluggy', 'fsspec', 'uvicorn'}"
    tell = "atexit.register(lambda: print('loaded:', *heavy & set(sys.modules)))"
    code = f"{watch}; {tell}; from xooai.cli import main; main(['--help'])"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)

    assert ended.stdout.splitlines()[-1] == "loaded:"


def test_no_command_at_all_shows_the_help(xooai: Xooai) -> None:
    ended = xooai()

    assert (ended.code, ended.out) == (2, "")
    assert "Commands:" in ended.err


@pytest.mark.parametrize("group", ["flow", "cache", "keys"])
def test_a_group_without_a_command_shows_its_help(xooai: Xooai, group: str) -> None:
    ended = xooai(group)

    assert f"Usage: xooai {group}" in (ended.err or ended.out).splitlines()[0]
    assert "Commands:" in (ended.err or ended.out).splitlines()


def test_an_unknown_command_names_the_nearest(xooai: Xooai) -> None:
    ended = xooai("srve")

    assert ended.code == 2
    assert "'srve'; did you mean 'serve'?" in ended.line


def test_an_unknown_option_is_one_line(xooai: Xooai) -> None:
    ended = xooai("plugins", "--bogus")

    assert ended.code == 2
    assert "--bogus" in ended.line
    assert ended.line.endswith("see: xooai plugins --help")


def test_the_version_is_the_installed_one(xooai: Xooai) -> None:
    assert xooai("--version").out.startswith("xooai 0.")


def test_a_traceback_is_shown_when_it_is_asked_for(xooai: Xooai, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOOAI_TRACEBACK", "1")

    ended = xooai("describe", "broken_import:Thing")

    assert ended.code == 1
    assert "Traceback (most recent call last)" in ended.err
    assert ended.err.splitlines()[-1].startswith("xooai: cannot import")


def test_a_reader_that_leaves_a_pipe_is_told_nothing() -> None:
    read, write = os.pipe()
    os.close(read)

    with os.fdopen(write, "w") as closed, spawned("describe", "kit:Kit", "--json", stdout=closed) as process:
        errors = process.communicate(timeout=PATIENCE)[1]

    assert (process.returncode, errors) == (1, "this is printed while the module is imported\n")


@pytest.fixture
def without_extra(tmp_path: Path) -> dict[str, str]:
    """An environment in which all is installed but what the extra `cli` brings."""
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.lower().startswith(("click", "rich")):
            (tmp_path / entry.name).symlink_to(entry)
    if not (tmp_path / "xooai").exists():
        (tmp_path / "xooai").symlink_to(Path(package.__file__).parent)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def bare(environment: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", "-m", "xooai", *args]  # -S: nothing but PYTHONPATH
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_without_the_extra_plugins_and_version_work(without_extra: dict[str, str]) -> None:
    plugins, version = bare(without_extra, "plugins"), bare(without_extra, "--version")

    assert (plugins.returncode, plugins.stderr) == (0, "")
    assert ["http://", "driver", "xooai", "xooai_http.plugin"] in [
        line.split()[:4] for line in plugins.stdout.splitlines()
    ]
    assert version.stdout.startswith("xooai 0.")


@pytest.mark.parametrize("args", [(), ("--help",), ("serve", "kit:Kit"), ("plugins", "--help")])
def test_without_the_extra_all_else_says_how_to_get_it(without_extra: dict[str, str], args: tuple[str, ...]) -> None:
    ended = bare(without_extra, *args)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "xooai: the command line needs the module 'click'; try: pip install 'xooai[cli]'\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_one_who_interrupts_it_while_it_is_loaded_is_shown_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time\ntime.sleep(60)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}

    ended = subprocess.run(
        [sys.executable, "-m", "xooai", "plugins"],
        env=env, capture_output=True, text=True, timeout=PATIENCE, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # whatever runs the tests ignores
    )  # fmt: skip

    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_an_interrupt_that_python_wraps_is_one_still(xooai: Xooai, tmp_path: Path) -> None:
    """As Python 3.11 does with one that comes while a class is made."""
    module = tmp_path / "interrupted.py"
    module.write_text(
        "try:\n    raise KeyboardInterrupt\nexcept KeyboardInterrupt as error:\n    raise RuntimeError('x') from error\n"
    )

    ended = xooai("describe", f"{module}:Reader")

    assert (ended.code, ended.out, ended.err) == (130, "", "")
