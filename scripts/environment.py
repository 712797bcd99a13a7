"""The project's own virtual environment: `.venv`, filled from a lock of pinned and hashed packages.

Runs on the machine's own Python before anything is installed, so it uses the standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

OLDEST = (3, 11)

SEVERAL = ("-n", "auto", "--dist", "worksteal")
"""Has pytest run as many tests at a time as tests/conftest.py says; whoever has none left takes some of another's."""

TESTS_FAILED = 1  # of pytest.ExitCode
FEW = 5
"""Tests that are tried once more: chance fails one or two of thousands, and a fault that fails more needs no second look."""


def prepare(purpose: str) -> Path:
    """Return the environment's Python, with the packages of `scripts/locks/{purpose}.txt` and xooai itself in it.

    The first time takes a minute or two; after that nothing is done until the lock or pyproject.toml changes.
    """
    if sys.version_info < OLDEST:
        fail(
            f"this is Python {sys.version_info[0]}.{sys.version_info[1]}; xooai needs {OLDEST[0]}.{OLDEST[1]} or later"
        )
    lock = ROOT / "scripts" / "locks" / f"{purpose}.txt"
    stamp = VENV / f"xooai-{purpose}.sha256"
    wanted = _digest(lock, ROOT / "pyproject.toml")
    if not (PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted):
        _install(lock)
        stamp.write_text(wanted)
    _compile()
    return PYTHON


def _install(lock: Path) -> None:
    if not PYTHON.exists():
        _create()
    print(f"installing into {VENV} (a minute or two the first time)", flush=True)
    _pip("--require-hashes", "--only-binary", ":all:", "--requirement", str(lock))
    _pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def _compile() -> None:
    """Write the bytecode of xooai, as pip does of what it copies: a shell may have told Python to write none by itself."""
    subprocess.run([str(PYTHON), "-m", "compileall", "-q", "xooai", "drivers", "stores"], cwd=ROOT, check=False)


def run(purpose: str, *command: str) -> None:
    """Run the environment's Python with `command`, and end with its exit code."""
    raise SystemExit(_ended(prepare(purpose), *command))


def _ended(python: str | Path, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> int:
    """Run `python`; return its exit code. Ctrl-C, which reaches it, too, ends this program."""
    try:
        return subprocess.run([str(python), *arguments], cwd=cwd, env=env, check=False).returncode
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def suite(python: str | Path, *arguments: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> int:
    """Run the whole suite, then what failed of it once more with no test beside; return the exit code of the last.

    A machine that stalls makes a test fail beside others that holds alone; a fault in the code fails it again. Those that held
    at the second attempt are listed: each is a fault of that test, if not a race in the code. More than FEW are tried no more.
    """
    code = _ended(python, "-m", "pytest", "--cache-clear", *arguments, cwd=cwd, env=env)
    noted = cwd / ".pytest_cache" / "v" / "cache" / "lastfailed"
    failed = sorted(json.loads(noted.read_text())) if code == TESTS_FAILED and noted.exists() else []
    if not 0 < len(failed) <= FEW:
        return code
    print(f"\nonce more, with no test beside: {len(failed)} that failed", flush=True)
    alone = ("-n", "0", "--last-failed", "--last-failed-no-failures", "none")
    code = _ended(python, "-m", "pytest", *arguments, *alone, cwd=cwd, env=env)
    if code == 0:
        print("failed at first and held alone, which is to be looked into:", *failed, sep="\n  ", flush=True)
    return code


def fail(message: str) -> None:
    """End with one line."""
    raise SystemExit(f"{Path(sys.argv[0]).name}: {message}")


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _create() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        sys.stderr.write(made.stdout + made.stderr)
        fail(f"{sys.executable} cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv")


def _pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    if subprocess.run(command, check=False).returncode != 0:
        fail("pip could not install what is needed; what it said stands above")
