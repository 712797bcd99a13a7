"""A worker that ends fails the calls that it had, and no others: at the promised load, within the promised times."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from supervised import Program
from worker_load import Notes
from worker_losses import REPLACED, Fault, at_a_worker, lost_among_calls
from worker_program import Faulty

pytest.importorskip("uvicorn")
pytest.importorskip("grpc")
pytest.importorskip("aioquic")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system does not tell when a process ends"),
]

DRIVERS = pytest.mark.parametrize("driver", [0, 1, 2], ids=["http", "grpc", "quic"])


async def kill(client: Faulty) -> None:
    os.kill(int((await client.apost(on="who"))["pid"]), signal.SIGKILL)


FAULTS: dict[str, Fault] = {
    "kill": kill,
    "exit": partial(at_a_worker, on="exit"),
    "crash": partial(at_a_worker, on="crash"),
}


@DRIVERS
@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_that_ends_fails_just_its_own_calls_and_is_replaced(
    program: Program, notes: Path, driver: int, fault: str
) -> None:
    lost = lost_among_calls(program, driver, FAULTS[fault])

    lost.takes_its_own(Notes(notes))
    assert lost.replaced < REPLACED
    assert program.end(signal.SIGTERM) == 0


@DRIVERS
@pytest.mark.parametrize("fault", FAULTS)
def test_where_a_worker_ends_calls_that_may_run_again_do_so_elsewhere(
    program: Program, notes: Path, driver: int, fault: str
) -> None:
    lost = lost_among_calls(program, driver, FAULTS[fault], on="work_again")

    lost.takes_none_that_may_run_again(Notes(notes))
