"""Which of its listeners gRPC's core takes: the quicker one, unless the user has said or loaded something else."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

PROGRAM = """
import os
{before}
from xooai import Executor, Text, post

class Echo(Executor):
    @post
    def echo(self, doc: Text) -> Text:
        return doc

with Echo() as e:
    (url,) = e.start("grpc://127.0.0.1:0")
    with Echo.at(url) as client:
        assert client.echo(doc=Text(value="hello")).read() == "hello"
print(os.environ.get("GRPC_EXPERIMENTS"))
"""
TRACED = {"GRPC_TRACE": "tcp,event_engine_endpoint", "GRPC_VERBOSITY": "debug"}
OF_AN_ENGINE, OF_A_POLLER = "posix_engine_listener.cc", "tcp_server_posix.cc"  # where the core says that it accepts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the choice is made on Linux")


def listeners(before: str = "", **environment: str) -> tuple[set[str], str]:
    """The core's sources that tell of accepting, and what the variable is at the end."""
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        env={name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"} | TRACED | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return set(re.findall(r"posix_engine_listener\.cc|tcp_server_posix\.cc", found.stderr)), found.stdout.strip()


def test_the_quicker_listener_is_taken_and_the_environment_left_as_it_was() -> None:
    assert listeners() == ({OF_A_POLLER}, "None")


def test_what_the_user_has_said_stands() -> None:
    said = "event_engine_listener"
    assert listeners(GRPC_EXPERIMENTS=said) == ({OF_AN_ENGINE}, said)


def test_what_the_user_has_loaded_stays() -> None:
    assert listeners(before="import grpc") == ({OF_AN_ENGINE}, "None")


TAKING_AWAY = """
import sys

class Taking:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc.aio":
            os.environ.pop("GRPC_EXPERIMENTS", None)

sys.meta_path.insert(0, Taking())
"""


def test_the_variable_may_be_taken_away_during_the_load() -> None:
    assert listeners(before=TAKING_AWAY)[1] == "None"


AT_ONCE = """
from threading import Barrier, Thread
from xooai_grpc import core

barrier, failed = Barrier(8), []

def load():
    barrier.wait()
    try:
        core.load()
    except Exception as error:
        failed.append(error)

threads = [Thread(target=load) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, failed
"""


TAKEN = """
import socket
from xooai import Executor, Unavailable, post

class Echo(Executor):
    @post
    def echo(self, x: int) -> int:
        return x

with socket.create_server(("127.0.0.1", 0)) as taken, Echo() as e:
    try:
        e.start(f"grpc://127.0.0.1:{taken.getsockname()[1]}")
    except Unavailable as error:
        print("in use" in error.message)
"""


@pytest.mark.parametrize("said", [{}, {"GRPC_TRACE": "tcp", "GRPC_VERBOSITY": "error"}])
def test_the_core_writes_nothing_of_its_own_unless_it_is_told_to(said: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")} | said
    found = subprocess.run(
        [sys.executable, "-c", TAKEN], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (found.returncode, found.stdout) == (0, "True\n")
    assert ("Address already in use" in found.stderr) is bool(said), found.stderr


def test_several_threads_may_load_at_once() -> None:
    assert listeners(before=AT_ONCE) == ({OF_A_POLLER}, "None")
