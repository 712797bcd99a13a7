"""A process that forks, as servers of other frameworks and loaders of data do: the child calls with means of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from places import PATIENCE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

PROGRAM = """
import os, signal, sys, tempfile, threading, traceback, warnings
from typing import ClassVar, Literal
from xooai import Executor, Text, post

warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: a process with threads forks

class MyExecutor(Executor):
    gate = threading.Event()
    begun = threading.Event()

    async def setup(self) -> None:
        self.begun.set()
        if not self.gate.is_set():
            await __import__("asyncio").to_thread(self.gate.wait)

    @post
    def double(self, n: int) -> int:
        return 2 * n

class Plain(Executor):
    @post
    def double(self, n: int) -> int:
        return 2 * n

def in_child(work):
    child = os.fork()
    if not child:
        signal.alarm(10)  # a child that hangs fails
        try:
            work()
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
"""
THREADS = """
with Plain() as plain:
    print(plain.post(on="double", n=1, timeout=5))
    in_child(lambda: print(plain.post(on="double", n=2, timeout=5)))
    print(plain.post(on="double", n=3, timeout=5))
"""
SETUP = """
executor = MyExecutor()
first = threading.Thread(target=lambda: print(executor.post(on="double", n=1)), daemon=True)
first.start()
executor.begun.wait()

def again():
    executor.gate.set()
    print(executor.post(on="double", n=2))

in_child(again)
executor.gate.set()
first.join()
"""
READERS = """
class Slow(Text):
    kind: Literal["slow"] = "slow"
    gate: ClassVar = threading.Event()
    begun: ClassVar = threading.Event()

    @classmethod
    def decode(cls, data: bytes) -> str:
        cls.begun.set()
        cls.gate.wait()
        return super().decode(data)

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "a.txt")
    with open(path, "w") as file:
        file.write("read")
    doc = Slow(ref=path)
    first = threading.Thread(target=lambda: print(doc.read()), daemon=True)
    first.start()
    Slow.begun.wait()

    def again():
        Slow.gate.set()
        print(doc.read())

    in_child(again)
    Slow.gate.set()
    first.join()
"""
KEPT = """
class Keeping(Executor):
    gate = threading.Event()
    begun = threading.Event()

    @post(cache=60)
    def double(self, n: int) -> int:
        self.begun.set()
        self.gate.wait()
        return 2 * n

keeping = Keeping()
first = threading.Thread(target=lambda: print(keeping.post(on="double", n=2)), daemon=True)
first.start()
keeping.begun.wait()

def again():
    keeping.gate.set()
    print(keeping.post(on="double", n=2))

in_child(again)
keeping.gate.set()
first.join()
"""
LINKS = """
with Plain() as plain, Plain.at(plain.start("http://127.0.0.1:0")[0]) as client:
    print(client.double(1))

    def call():
        print(client.double(2))
        client.__exit__(None, None, None)

    in_child(call)
    in_child(lambda: client.__exit__(None, None, None))
    in_child(lambda: plain.__exit__(None, None, None))
    print(client.double(3))
"""


NEEDS_HTTP = pytest.mark.skipif(
    find_spec("uvicorn") is None, reason="serving needs uvicorn; it comes with: pip install -e '.[http]'"
)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (THREADS, "2\n4\n6\n"),
        (SETUP, "4\n2\n"),
        (READERS, "read\nread\n"),
        (KEPT, "4\n4\n"),
        pytest.param(LINKS, "2\n4\n6\n", marks=NEEDS_HTTP),
    ],
    ids=["threads", "setup", "readers", "kept", "links"],
)
def test_the_child_of_a_fork_calls_and_its_parent_goes_on(program: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-u", "-c", PROGRAM + program],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert (done.stdout, done.stderr) == (said, "")
