"""Stubs that protoc makes of .proto files, as a client that is not ours has them."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

__all__ = ["compiled", "exported"]

HERE = Path(__file__).resolve().parent


def exported(target: str, *options: str) -> str:
    """What `xooai export proto` writes."""
    command = [sys.executable, "-m", "xooai", "export", "proto", target, *options]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout


def compiled(text: str, name: str, folder: Path) -> tuple[ModuleType, ModuleType]:
    """The modules with the messages and the stubs of a .proto file, whose `name` no other has."""
    protoc = pytest.importorskip(
        "grpc_tools.protoc", reason="needs grpcio-tools; it comes with: pip install -e '.[dev]'"
    )
    (folder / f"{name}.proto").write_text(text)
    options = [f"-I{folder}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main(["protoc", *options, f"{name}.proto"]) == 0
    sys.path.insert(0, str(folder))
    try:
        return import_module(f"{name}_pb2"), import_module(f"{name}_pb2_grpc")
    finally:
        sys.path.remove(str(folder))
