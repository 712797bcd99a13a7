"""What holds for every test: marked ones run when they are asked for, several run at a time, none leaves anything behind."""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import fsspec.asyn
import pytest
from hypothesis import settings

from counting import PNG, Counted
from grpc_poller import is_of_grpcio
from xooai import media, sync
from xooai.codec import CODECS, Codec
from xooai.errors import PluginError

if TYPE_CHECKING:
    from selenium import webdriver

# No test reads or writes the cache of who runs them; the servers and command lines that tests start share this one.
os.environ["XOOAI_CACHE"] = _CACHE = tempfile.mkdtemp(prefix="xooai-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell starts what it runs in the background; the servers and command lines that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # As nohup(1) has it; a server that inherits it replaces no worker when it is told to.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Examples a test: enough to meet what the strategies name, few enough for every run. A machine that loads and stalls is no
# failure, so there is no deadline; where CI is set, the same examples come every time.
settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("ci", max_examples=20, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "quick"))

HERE = Path(__file__).parent
NEEDED = {
    HERE / "http": ("uvicorn", "httptools", "uvloop", "websockets"),
    HERE / "grpc_driver": ("grpc", "grpc_health", "grpc_reflection", "uvicorn", "uvloop"),
}
"""Tests of drivers, and the modules that the drivers' extras bring."""

KEPT = ("xooai-loop", "fsspecIO", "asyncio_")
"""Threads that live as long as the process: the two private loops, and the worker threads of these."""

POOLED = (
    "xooai-worker"  # ends by itself when it has been idle for some seconds: looked for once, when all tests are done
)
PATIENCE = 10.0  # seconds for what was told to end


MOST = 4  # processes: a container shows all cores of its machine, and may use few of them


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One of a module's own."""
    with importlib.import_module("browsing").chromium_at(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> webdriver.Chrome:
    """A blank page, and nothing in the log."""
    chromium.get("about:blank")
    chromium.get_log("browser")
    return chromium


def missing(folder: Path) -> list[str]:
    return [name for name in NEEDED.get(folder, ()) if find_spec(name) is None]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if missing(collection_path) else None


def pytest_report_header() -> list[str]:
    absent = {folder.name: missing(folder) for folder in NEEDED}
    return [
        f"skipped: all of tests/{name}, for want of the module {lacks[0]!r}" for name, lacks in absent.items() if lacks
    ]


def _skipped_for_want_of_an_extra(error: PluginError) -> None:
    """Skip a test that asks for an extra, where one is missing: only there is such an error no failure."""
    if any(missing(folder) for folder in NEEDED) and "pip install 'xooai[" in error.message:
        pytest.skip(error.message)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    try:
        yield
    except PluginError as error:
        _skipped_for_want_of_an_extra(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    try:
        yield
    except PluginError as error:
        _skipped_for_want_of_an_extra(error)
        raise


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """How many processes `-n auto` gives the tests: one more than there are cores, since most of their time tests wait.

    None but this one where files are named, which takes less time than starting others, and for what is marked: a soak
    measures memory and time. What PYTEST_XDIST_AUTO_NUM_WORKERS says goes before, as xdist reads it.
    """
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    if config.getoption("markexpr") or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    return min((os.cpu_count() or 1) + 1, MOST)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is marked `system` or `slow`, unless -m asks for it."""
    asked = config.getoption("markexpr")
    for line in config.getini("markers"):
        name, _, reason = line.partition(": ")
        if name not in ("system", "slow") or name in asked:
            continue
        skipped = pytest.mark.skip(reason=reason)
        for item in items:
            if item.get_closest_marker(name):
                item.add_marker(skipped)


def pytest_collection_finish() -> None:
    """What is there by now stays, all tests among it: to look through it with each collection costs a minute of a whole run."""
    gc.collect()
    gc.freeze()


class Complaints(logging.Handler):
    """What asyncio says of tasks destroyed, exceptions never retrieved and callbacks that failed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if not is_of_grpcio(text):
            self.heard.append(text)


@pytest.fixture(scope="session", autouse=True)
def private_loops() -> Iterator[None]:
    """Start what lives as long as the process before the first test counts what is there."""
    sync.run(asyncio.sleep(0))
    fsspec.asyn.get_loop()
    yield
    for thread in _threads(POOLED):
        thread.join(PATIENCE)
    left = _threads(POOLED)
    assert not left, f"worker threads that do not end: {left}"


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread, a socket, a task on the private loop, or an exception that nobody saw."""
    threads, sockets, complaints = set(threading.enumerate()), _sockets(), Complaints()
    logging.getLogger("asyncio").addHandler(complaints)
    try:
        yield
        media.close_decoders()  # which would wait for the next content
        left = _left(threads, sockets)
        if left:  # what hangs in a reference cycle is not left: look again
            gc.collect()
            left = _left(threads, sockets)
    finally:
        logging.getLogger("asyncio").removeHandler(complaints)
    assert not left, f"the test leaves behind: {', '.join(left)}"
    assert not complaints.heard, "asyncio complains: " + "\n".join(complaints.heard)


@pytest.fixture(params=CODECS.values(), ids=list(CODECS))
def codec(request: pytest.FixtureRequest) -> Codec:
    """Each codec in turn."""
    found: Codec = request.param
    return found


@pytest.fixture
def counted() -> list[str]:
    """The paths that were opened on `counted://`, where `a.txt` and `a.png` are."""
    fsspec.register_implementation("counted", Counted, clobber=True)
    Counted.gate.set()
    Counted.contents = {"a.txt": b"hello", "a.png": PNG}
    Counted.opened.clear()
    return Counted.opened


def _left(threads: set[threading.Thread], sockets: frozenset[str]) -> list[str]:
    others = [
        thread
        for thread in threading.enumerate()
        if thread not in threads and not thread.name.startswith((*KEPT, POOLED))
    ]
    for thread in others:
        thread.join(PATIENCE)
    tasks = sync.run(_tasks())
    return [repr(thread) for thread in others if thread.is_alive()] + tasks + sorted(_left_open(sockets))


def _left_open(before: frozenset[str]) -> frozenset[str]:
    """The sockets that stay: libraries with threads of their own close theirs when these get to it."""
    left, deadline = _sockets() - before, time.monotonic() + PATIENCE
    if left:
        gc.collect()  # some hang in a reference cycle
    while left and time.monotonic() < deadline:
        time.sleep(0.005)
        left = _sockets() - before
    return left


async def _tasks() -> list[str]:
    return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def _threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def _sockets() -> frozenset[str]:
    """The open sockets by the kernel's number, where it tells."""
    if sys.platform != "linux":
        return frozenset()
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            pass  # the listing's own
    return frozenset(target for target in found if target.startswith("socket:"))
