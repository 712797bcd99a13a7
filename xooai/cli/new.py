"""`xooai new`: a small project that runs and tests itself."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

import click

import xooai
from xooai.declare import checked_name, snake_case

__all__ = ["command"]

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*", re.IGNORECASE)
_LONGEST = 64  # characters of a name: it becomes a directory, a package, a class and a path

# Where each template goes; they end in .txt so that no tool takes them for what they will become.
_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "gitignore.txt": ".gitignore",
    "package.py.txt": "$package/__init__.py",
    "executor.py.txt": "$package/executor.py",
    "test.py.txt": "tests/test_$package.py",
}


def _names(name: str) -> dict[str, str]:
    """The names that come from NAME: project, package, class, executor. Raises UsageError."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise click.UsageError(
            f"{name[:80]!r} is no name for a project; it takes letters and digits, with '-' or '_' between them, "
            f"as my-reader, and begins with a letter (at most {_LONGEST})"
        )
    package = name.lower().replace("-", "_")
    cls = "".join(part[:1].upper() + part[1:] for part in re.split("[-_]", name))
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in ("xooai", "tests"):
        raise click.UsageError(f"a package cannot be called {package!r}: Python or xooai has that name; take another")
    if cls in xooai.__all__:
        raise click.UsageError(
            f"the class would be called {cls}, as one of xooai's own; take another name, as my-{name.lower()}"
        )
    try:
        executor = checked_name(snake_case(cls))
    except ValueError as error:
        raise click.UsageError(f"{error}".partition(";")[0] + "; take another") from None
    return {"project": package.replace("_", "-"), "package": package, "cls": cls, "executor": executor}


def _write(directory: Path, names: dict[str, str]) -> None:
    templates = files("xooai.cli") / "templates"
    for source, target in _FILES.items():
        path = directory / Template(target).substitute(names)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = Template((templates / source).read_text(encoding="utf-8")).substitute(names)
        path.write_text(text, encoding="utf-8", newline="\n")


@click.command(
    epilog="""\b
Examples:
  xooai new my-reader
  cd my-reader
  pip install -e '.[dev]'
  pytest
  xooai serve my_reader:MyReader"""
)
@click.argument("name")
def command(name: str) -> None:
    """Write a small project that runs and tests itself.

    NAME, as my-reader, becomes a directory here with a pyproject.toml, a package (my_reader) with one executor
    (MyReader), a test, a README and a .gitignore. Nothing that exists is overwritten.
    """
    names = _names(name)
    directory = Path(name)
    try:
        directory.mkdir()
    except FileExistsError:
        raise click.ClickException(f"{name!r} exists already; take another name, or move it away") from None
    _write(directory, names)
    steps = (f"cd {name}", "pip install -e '.[dev]'", "pytest", f"xooai serve {names['package']}:{names['cls']}")
    click.echo("\n  ".join((f"{name} is made. Next:\n", *steps)))


command.name = "new"
