"""A peer that vanishes without a word: both sides give up its calls in time, none is made anew, and the next one is not lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from authority import Authority
from xooai import plugins

HERE = Path(__file__).parent
SCHEMES = ("http", "grpc", "quic")
KEPT_ALIVE = 40.0  # seconds: 30 without a sign of life, and ten for an answer to what asks for one
LATE = 2.0  # seconds by which the system's timers, and a busy machine, are late
COMMANDS = ["unshare", "--net"]
SHORT = 2.0  # seconds that a call has which is begun when the cable is out

Played = Callable[[str], dict[str, dict[str, Any]]]


@pytest.fixture
def played(tmp_path: Path) -> Played:
    """What came of a scene of `pulled_cable.py`, by the scheme."""

    def played(scene: str) -> dict[str, dict[str, Any]]:
        authority = Authority(tmp_path)
        certificate = str(authority.signs("far", "IP:10.9.0.2").both)
        path = os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": path, "SSL_CERT_FILE": str(authority.trust)}
        running = {}
        for scheme in SCHEMES:
            plugins.driver(scheme)
            line = [*COMMANDS, sys.executable, str(HERE / "pulled_cable.py"), scheme, scene]
            line += [certificate] if scheme == "quic" else []
            running[scheme] = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=env)
        found = {}
        for scheme, program in running.items():
            with program:
                found[scheme] = json.loads(program.communicate(timeout=200)[0])
        return found

    return played


@pytest.mark.system
def test_calls_whose_peer_is_cut_off_end_on_both_sides(played: Played) -> None:
    for scheme, found in played("under way").items():
        print(scheme, found)
        running, short = found["running"], found["short"]
        assert (running["error"], running["never_ran"]) == ("Unavailable", False), scheme
        assert running["after"] < KEPT_ALIVE + LATE, scheme
        assert short["error"] in ("DeadlineExceeded", "Unavailable"), scheme
        assert short["after"] < SHORT + LATE, scheme
        assert found["told"] == "left", scheme
        assert found["left"] < KEPT_ALIVE + LATE, scheme


@pytest.mark.system
def test_the_first_call_after_a_connection_was_cut_off_unseen_is_not_lost(played: Played) -> None:
    for scheme, found in played("idle").items():
        print(scheme, found)
        assert [found[which].get("result") for which in ("first", "second")] == [1, 2], scheme
        assert found["first"]["after"] < 5, scheme
