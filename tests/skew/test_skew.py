"""What clients and servers of two versions are checked by holds within one version, and tells where something is amiss."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from skew_program import Order

from surroundings import unmeasured
from xooai import Executor, post

pytest.importorskip("uvicorn")
pytest.importorskip("grpc")
pytest.importorskip("aioquic")

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "scripts" / "skew.py"
PATIENCE = 240.0  # seconds for all checks over one driver, some ten


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a server in a process of its own says of itself."""
    command = [sys.executable, str(HERE / "skew_server.py"), str(tmp_path_factory.mktemp("server"))]
    quiet = subprocess.DEVNULL  # the errors that the checks ask for
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.stdin.close()
            server.wait(PATIENCE)


def checked(url: str, trust: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "skew_client.py"), url, trust, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("driver", range(5), ids=["http", "grpc", "https", "grpcs", "quic"])
def test_all_holds_between_two_processes_of_one_version(told: dict[str, Any], driver: int, tmp_path: Path) -> None:
    ended = checked(told["urls"][driver], told["trust"], tmp_path)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "left out" not in ended.stdout
    assert ended.stdout.count(" ok\n") == len(ended.stdout.splitlines()) > 10


class Changed(Executor):
    """One that does not keep the contract."""

    @post
    async def abilities(self) -> dict[str, bool]:
        return {}

    @post
    async def order(self, order: Order) -> Order:
        return Order(item="another")


@pytest.mark.slow
def test_each_check_that_does_not_hold_is_told(tmp_path: Path) -> None:
    with Changed(name="contract") as changed:
        ended = checked(changed.start("http://127.0.0.1:0")[0], "", tmp_path)

    assert ended.returncode == 1
    assert ended.stdout.count("FAILED") > 10
    assert "idempotency keys             left out: the server has no idempotency keys" in ended.stdout
    assert " ok\n" not in ended.stdout


def test_a_revision_that_is_not_there_is_told_in_one_line() -> None:
    if not (SCRIPT.parents[1] / ".git").exists():
        pytest.skip("needs the history of git")
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), "no-such-revision"], capture_output=True, text=True, check=False, env=unmeasured()
    )

    assert (ended.returncode, ended.stderr) == (1, "skew.py: git knows no revision 'no-such-revision'\n")
