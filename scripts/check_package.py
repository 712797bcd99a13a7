"""Build the distribution, install it in empty environments, and run the suite against what is installed there.

    .venv/bin/python scripts/check_package.py

In one environment xooai stands alone: it brings at most 12 distributions, none of which is compiled here, and the suite
passes, leaving out with the reason what needs an extra. In the other it has all extras, and the whole suite passes. The
tests run in a folder that holds no source of xooai.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from environment import ROOT, SEVERAL, fail, suite

LIMIT = 12  # distributions that `pip install xooai` adds, xooai among them
TOOLS = ["pytest", "pytest-cov", "pytest-xdist", "hypothesis", "markdown-it-py", "openapi-spec-validator", "packaging"]
"""What the suite needs of its own, beside what xooai brings."""
SOURCE = ("xooai", "drivers", "stores")
OTHERS = {".git", ".venv", "dist", "build", "site", "__pycache__"}


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    print(f"$ {' '.join(map(str, command))}", flush=True)
    ended = subprocess.run(list(map(str, command)), cwd=cwd, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode != 0:
        fail(f"exit code {ended.returncode} of: {' '.join(map(str, command))}\n{ended.stdout}")
    return ended.stdout


def built(target: Path) -> Path:
    """Build the sdist, and the wheel out of the sdist; return the wheel."""
    run(sys.executable, "-m", "build", "--outdir", target, ROOT)
    (wheel,) = target.glob("*.whl")
    return wheel


def environment(place: Path) -> Path:
    run(sys.executable, "-m", "venv", place)
    return place / "bin" / "python"


def install(python: Path, versions: Path, *requirements: str | Path) -> None:
    run(python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--constraint", versions, *requirements)


def locked(target: Path) -> Path:
    """Write the versions of the tests' lock as constraints: pip refuses hashes beside a wheel that has none, and extras here."""
    lines = (ROOT / "scripts" / "locks" / "test.txt").read_text().splitlines()
    pinned = [re.sub(r"\[.*?\]", "", line).removesuffix("\\").strip() for line in lines if "--hash" not in line]
    target.write_text("".join(f"{line}\n" for line in pinned))
    return target


def names(python: Path) -> set[str]:
    listed = run(python, "-m", "pip", "list", "--format", "freeze")
    return {line.partition("==")[0] for line in listed.splitlines()}


def check(python: Path, work: Path) -> None:
    """Run the tests with `python`, in a copy of the checkout without xooai's source."""
    folder = Path(tempfile.mkdtemp(dir=work))
    for entry in ROOT.iterdir():
        if entry.name not in OTHERS and entry.name not in SOURCE:
            (shutil.copytree if entry.is_dir() else shutil.copy2)(entry, folder / entry.name)
    clean = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_ADDOPTS", "VIRTUAL_ENV")
    }
    clean["PATH"] = f"{python.parent}{os.pathsep}{clean['PATH']}"
    print(f"$ pytest, with {python}", flush=True)
    if suite(python, "-q", *SEVERAL, cwd=folder, env=clean) != 0:
        fail(f"the suite does not pass with the installed wheel ({python})")


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        wheel = built(work / "dist")
        versions = locked(work / "versions.txt")

        alone = environment(work / "alone")
        before = names(alone)
        install(alone, versions, wheel)
        added = sorted(names(alone) - before)
        print(f"xooai alone adds {len(added)} distributions: {', '.join(added)}")
        if len(added) > LIMIT:
            fail(f"xooai alone may add {LIMIT} distributions")
        install(alone, versions, *TOOLS)
        check(alone, work)

        whole = environment(work / "whole")
        install(whole, versions, f"{wheel}[dev]")
        check(whole, work)


main()
