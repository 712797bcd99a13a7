"""The project's own virtual environment: `.venv`, filled from a lock of pinned and hashed packages.

Runs on the machine's own Python before anything is installed, so it uses the standard library only.
"""

from __future__ import annotations

import hashlib
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
    python = prepare(purpose)
    try:
        raise SystemExit(subprocess.run([str(python), *command], check=False).returncode)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


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
