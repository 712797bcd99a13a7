"""The executors that a Flow makes of classes: each made once, never closed under a call, and closed with what served them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from xooai import Executor, Flow, FlowError, Text, post

PATIENCE = 20  # seconds: what waits longer fails its test
DOC = Text(value="x")


class Model(Executor):
    """Tells of its life, and holds calls as long as it is told to."""

    def __init__(self, life: list[str], gate: threading.Event, began: threading.Event) -> None:
        self.life, self.gate, self.began = life, gate, began
        life.append("made")

    @post
    def hold(self, doc: Text) -> Text:
        self.began.set()
        self.life.append("began")
        assert self.gate.wait(PATIENCE)
        self.life.append("ended")
        return doc

    def close(self) -> None:
        self.life.append("closed")


def test_an_executor_is_closed_by_the_last_call_that_runs_on_it() -> None:
    life: list[str] = []
    gate, began = threading.Event(), threading.Event()
    f = Flow().add(use=Model, with_={"life": life, "gate": gate, "began": began})

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(lambda: f.post(doc=DOC))
        assert began.wait(PATIENCE)
        began.clear()
        f.close()
        second = threads.submit(lambda: f.post(doc=DOC))
        assert began.wait(PATIENCE)
        assert life == ["made", "began", "made", "began"]
        gate.set()
        assert first.result(PATIENCE) == second.result(PATIENCE) == DOC
    for thread in threading.enumerate():
        if thread.name == "xooai-close":
            thread.join(PATIENCE)
    f.close()

    assert sorted(life) == ["began", "began", "closed", "closed", "ended", "ended", "made", "made"]
    assert life.index("ended") < life.index("closed")


def test_posts_and_closes_at_once_lose_nothing_and_close_all_that_was_made() -> None:
    life: list[str] = []
    running: list[int] = []
    gate = threading.Event()
    gate.set()

    class Counts(Model):
        @post
        def hold(self, doc: Text) -> Text:
            running.append(id(self))
            assert not hasattr(self, "is_closed")
            running.remove(id(self))
            return doc

        def close(self) -> None:
            assert id(self) not in running
            self.is_closed = True
            super().close()

    def close() -> None:
        for _ in range(50):
            f.close()

    f = Flow().add(use=Counts, with_={"life": life, "gate": gate, "began": threading.Event()})
    with ThreadPoolExecutor(4) as threads:
        posts = [threads.submit(lambda: [f.post(doc=DOC) for _ in range(25)]) for _ in range(3)]
        closes = threads.submit(close)
        assert all(found == DOC for one in posts for found in one.result(PATIENCE))
        closes.result(PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "xooai-close":
            thread.join(PATIENCE)
    f.close()

    assert life.count("made") == life.count("closed")


def test_a_class_of_flows_is_to_be_given_made() -> None:
    class Pipeline(Flow):
        pass

    for kind in (Flow, Pipeline):
        with pytest.raises(FlowError, match=rf"use={kind.__name__} is a class of Flows; .* use={kind.__name__}\(\)"):
            Flow().add(use=kind)


SERVED = """
import xooai
from xooai import Executor, Flow, Text, post

class Model(Executor):
    @post
    def echo(self, doc: Text) -> Text:
        return doc

    def close(self):
        print("closed", flush=True)

f = Flow(name="f").add(use=Model)
{run}
print("left", flush=True)
"""


@pytest.mark.parametrize("run", ["f.serve('http://127.0.0.1:0')", "xooai.serve(f, at='http://127.0.0.1:0')"])
def test_what_was_made_for_a_flow_is_closed_when_serving_ends(run: str) -> None:
    pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    program = [sys.executable, "-c", SERVED.replace("{run}", run)]

    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert "xooai serves at" in server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        told, _ = server.communicate(timeout=PATIENCE)

    assert (server.returncode, told.split()) == (0, ["closed", "left"])


FORKS = """
import os, signal, threading, warnings
from xooai import Executor, Flow, Text, post

warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: a process with threads forks
making, gate = threading.Event(), threading.Event()

class Model(Executor):
    def __init__(self):
        making.set()
        gate.wait()

    @post
    def echo(self, doc: Text) -> str:
        return doc.read()

def in_child():
    child = os.fork()
    if not child:
        signal.alarm(10)  # a child that hangs fails
        gate.set()
        print(f.post(doc=Text(value="child")), flush=True)
        f.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

f = Flow().add(use=Model)
first = threading.Thread(target=lambda: print(f.post(doc=Text(value="parent")), flush=True))
first.start()
making.wait()
in_child()
gate.set()
first.join()
in_child()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_that_forked_while_an_executor_was_made_makes_its_own() -> None:
    program = [sys.executable, "-c", FORKS]

    ended = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert (ended.returncode, ended.stdout.split()) == (0, ["child", "parent", "child"]), ended.stderr
