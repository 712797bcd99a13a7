"""What the tests of bad networks share: servers, event loops that end empty, and the schemes that there are."""

from __future__ import annotations

import asyncio
import gc
import shutil
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from chaos_program import Ledger
from waiting_program import Waiting

from grpc_poller import is_of_grpcio, poller

__all__ = ["poller"]

LIBRARIES = [
    "aioquic",
    pytest.param(
        "qh3", marks=[pytest.mark.slow, pytest.mark.skipif(find_spec("qh3") is None, reason="needs quic-fast")]
    ),
]
LONG = 70.0  # seconds: more than any of them gives its calls
SETTLED = 30.0  # seconds for handlers to see that their clients have left


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine. No task and no exception that nobody saw may be left at the end."""
    complaints: list[dict[str, Any]] = []

    async def settled(scenario: Coroutine[Any, Any, Any]) -> Any:
        async with asyncio.timeout(LONG):
            result = await scenario
        for _ in range(200):  # those of grpcio's own that are about to end
            if len(asyncio.all_tasks()) == 1:
                break
            await asyncio.sleep(0.005)
        return result

    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
        yield lambda scenario: runner.run(settled(scenario))
        left = asyncio.all_tasks(runner.get_loop())
    gc.collect()
    assert (left, [told for told in complaints if not is_of_grpcio(str(told))]) == (set(), [])


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """An executor whose servers end with the test. At its end no handler may run."""
    with Ledger() as made:
        yield made
        deadline = time.monotonic() + SETTLED
        while made.running and time.monotonic() < deadline:
            time.sleep(0.005)
        assert made.running == 0, "handlers run on, though all clients have left"


@pytest.fixture(params=["http", "grpc"])
def scheme(request: pytest.FixtureRequest) -> str:
    """Each driver on TCP."""
    return str(request.param)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is under the driver for QUIC."""
    monkeypatch.setenv("XOOAI_QUIC", request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files: a certificate for 127.0.0.1 and its key, the same for another name, and one whose days are over."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("pem")
    names = {name: str(folder / f"{name}.pem") for name in ("certificate", "key", "other", "expired")}
    signing = ["openssl", "x509", "-in", names["certificate"], "-signkey", names["key"]]
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test".split()
    of_address, of_name = (["-addext", f"subjectAltName={name}"] for name in ("IP:127.0.0.1", "DNS:other.example"))
    key = ["-key", names["key"], "-out", names["other"]]
    for command in (
        [*new, *of_address, "-keyout", names["key"], "-out", names["certificate"]],
        [
            *(part for part in new if part not in ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")),
            *of_name,
            *key,
        ],
        [*signing, "-days", "-1", "-out", names["expired"]],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return names


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    """An executor whose handlers wait."""
    with Waiting() as made:
        yield made
