"""Where the frameworks compared are installed; run as a program, make the environments of those that need their own.

LitServe, BentoML, Jina and Ray pin what xooai does not, and Mosec is none of its needs: each gets an environment under
benchmarks/.venvs; the others are in this.
"""

import argparse
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOM = HERE / ".venvs"
APART = ("litserve", "bentoml", "jina", "ray", "mosec")


def interpreter(module: str, given: dict[str, Path]) -> str | None:
    """Return the Python that has the module: the one given, its own environment's, or this; None when none has."""
    python = given.get(module, ROOM / module / "bin" / "python" if module in APART else Path(sys.executable))
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    found = python.exists() and subprocess.run([python, "-c", probe], check=False).returncode == 0
    return str(python) if found else None


def missing(module: str) -> str:
    """Return the line that says how to get a module that is not there."""
    if module == "xooai":
        return "xooai is not installed here; try: pip install '.[http]'"
    if module == "grpc":
        return "grpc is not installed here; try: pip install '.[http,grpc]'"
    if module in APART:
        return f"{module} is not installed; try: python benchmarks/peers.py {module}, or --python {module}=PATH"
    return f"{module} is not installed here; try: pip install -r benchmarks/requirements.txt"


def pair(text: str) -> tuple[str, Path]:
    """Read PEER=PATH."""
    name, equals, path = text.partition("=")
    if name not in APART or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not PEER=PATH with a peer of: {', '.join(APART)}")
    return name, Path(path).absolute()


def main() -> None:
    """Make the environments named, or all."""
    parser = argparse.ArgumentParser(
        description="Install the peers that need an environment of their own under benchmarks/.venvs."
    )
    parser.add_argument("peer", nargs="*", choices=[*APART, []], help=f"which (default: {' '.join(APART)})")
    for name in parser.parse_args().peer or APART:
        venv.create(ROOM / name, with_pip=True)
        python, wanted = ROOM / name / "bin" / "python", HERE / f"requirements-{name}.txt"
        subprocess.run([python, "-m", "pip", "install", "-r", wanted], check=True)


if __name__ == "__main__":
    main()
