"""A peer that vanishes without a word: both sides give up its call in time, and it is not made anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xooai import plugins

HERE = Path(__file__).parent
KEPT_ALIVE = 40.0  # seconds: 30 without a sign of life, and ten for an answer to what asks for one
LATE = 10.0  # seconds by which the system's timers, and a busy machine, are late
COMMANDS = ["unshare", "--net"]


@pytest.mark.system
def test_a_call_whose_peer_is_cut_off_ends_on_both_sides() -> None:
    running = {}
    for scheme in ("http", "grpc"):
        plugins.driver(scheme)
        line = [*COMMANDS, sys.executable, str(HERE / "pulled_cable.py"), scheme]
        path = os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": path}
        running[scheme] = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=env)
    for scheme, program in running.items():
        with program:
            found = json.loads(program.communicate(timeout=200)[0])
        print(scheme, found)
        assert (found["error"], found["never_ran"]) == ("Unavailable", False)
        assert found["after"] < KEPT_ALIVE + LATE
        assert found["told"] == "left\n"
        assert found["left"] < KEPT_ALIVE + LATE
