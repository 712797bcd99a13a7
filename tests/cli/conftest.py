"""Commands in this process with their output captured, and servers that end with the test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from command_line import ANYWHERE, HERE, Ended, Server, Xooai, serving

from xooai.cli import main


@pytest.fixture(autouse=True, scope="session")
def extras() -> None:
    for module in ("click", "rich", "uvicorn", "websockets"):
        pytest.importorskip(module, reason=f"no module {module!r}; it comes with: pip install -e '.[http]'")


@pytest.fixture
def xooai(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Xooai]:
    """Run a command in this process, in the directory of these tests."""
    monkeypatch.chdir(HERE)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*args: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    yield run
    for name in ("kit", f"{HERE / 'kit.py'}"):
        sys.modules.pop(name, None)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Serve executors until the test ends."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(serving(*args, **options))


@pytest.fixture(scope="session")
def kit(extras: None) -> Iterator[str]:
    """The URL of the executor in kit.py, served on a free port."""
    with serving("kit:Kit", "--url", ANYWHERE, stderr=subprocess.DEVNULL, patience=3600) as server:
        yield f"{server.url}/kit"
