"""Workers that decode: processes of our own, bounded in number, started on first use and lent to one piece of work at a time."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import FileIO

import msgspec

from xooai import forks
from xooai.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, XooaiError
from xooai.media.exchange import Asked, Given, Limits, hear, tell
from xooai.media.undecodable import undecodable

__all__ = ["Ended", "Pool", "Worker"]

_ENDING = 5.0  # seconds for a worker that was told to end, or has ended its side
# Threads of numerical libraries and arenas of the allocator take of the address space, which is limited, for nothing.
_LEAN = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


class Ended(Exception):
    """A worker ended in the middle of a piece of work. `error` says why; `is_crash` where it was none of its limits."""

    def __init__(self, error: XooaiError, is_crash: bool) -> None:
        super().__init__(error.message)
        self.error, self.is_crash = error, is_crash


class Worker:
    """One process that decodes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process, self._end = _started(limits)
        self._is_started = False
        self.works = 0
        """Pieces of work that it has answered."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def ask(self, asked: Asked, content: FileIO | None, what: str) -> tuple[Given, FileIO | None]:
        """The answer to a piece of work, and the file beside it, which is the caller's to close.

        `what` names the content, as "image". Raises Ended; whatever is raised, the worker is ended.
        """
        try:
            tell(self._end, asked, None if content is None else content.fileno())
            if not self._is_started:
                hear(self._end, Given, self._limits.patience)
                self._is_started = True
            answer = hear(self._end, Given, self._limits.patience)
        except TimeoutError:
            self._process.kill()  # it may not listen to less
            self.close()
            raise Ended(_too_long(what, f"{self._limits.patience:g} seconds"), is_crash=False) from None
        except (OSError, EOFError):
            raise self._ended(what) from None
        except msgspec.MsgspecError:
            self.close()
            raise Ended(_crashed(what, "its answer is not one"), is_crash=True) from None
        except BaseException:
            self.close()
            raise
        self.works += 1
        return answer

    def _ended(self, what: str) -> Ended:
        try:
            code = self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:  # it has closed its end, and stays
            self.close()
            return Ended(_crashed(what, "the decoder ended its answers"), is_crash=True)
        self.close()
        how = _name(code)
        if how == "SIGXCPU":
            return Ended(_too_long(what, f"{self._limits.cpu} seconds of processor time"), is_crash=False)
        if how in ("SIGKILL", "SIGTERM"):
            error = ResourceExhausted(
                f"decoding the {what} was ended by the system, as it does when memory runs out", reason="size"
            )
            return Ended(error, is_crash=False)
        if not self._is_started:
            return Ended(_not_started(f"{sys.executable} ended with {code}; stderr tells more"), is_crash=False)
        return Ended(_crashed(what, how), is_crash=True)

    def close(self) -> None:
        """End it, whatever it does."""
        self._end.close()
        if self._process.returncode is None:
            self._process.terminate()
            try:
                self._process.wait(_ENDING)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def forget(self) -> None:
        """Let go of what is the parent's, in the child of a fork."""
        self._end.close()
        forks.LEFT.append(self._process)


class Pool:
    """At most `most` workers, of which `kept` stay when they have nothing to do."""

    def __init__(self, limits: Limits, *, most: int, kept: int) -> None:
        self._limits, self._most, self._kept = limits, most, kept
        self._all: set[Worker] = set()
        self._idle: list[Worker] = []
        self._free = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._is_known = False
        forks.renewed(self)

    def renew(self) -> None:
        """Begin without workers, in the child of a fork."""
        left, self._all, self._idle = self._all, set(), []
        self._free = threading.BoundedSemaphore(self._most)
        self._lock = threading.Lock()
        for worker in left:
            worker.forget()

    @property
    def idle(self) -> list[Worker]:
        """Those that have nothing to do."""
        return list(self._idle)

    def lent(self) -> AbstractContextManager[Worker]:
        """A worker for as long as the context lasts. ResourceExhausted when all have work for long."""
        return self._turn(self._taken)

    def new(self) -> AbstractContextManager[Worker]:
        """As `lent`, but one that has done nothing before."""
        return self._turn(self._made)

    @contextmanager
    def _turn(self, found: Callable[[], Worker]) -> Iterator[Worker]:
        free = self._free
        if not free.acquire(timeout=self._limits.wait):
            raise ResourceExhausted(
                f"all {self._most} processes that decode had work for {self._limits.wait:g} seconds; try again later",
                retry_after=1.0,
            )
        try:
            worker = found()
            try:
                yield worker
            finally:
                self._back(worker)
        finally:
            free.release()

    def _taken(self) -> Worker:
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                return self._made()
            if not worker.is_over():
                return worker
            self._drop(worker)

    def _made(self) -> Worker:
        worker = Worker(self._limits)
        with self._lock:
            self._all.add(worker)
            if not self._is_known:
                self._is_known = True
                atexit.register(self.close)
        return worker

    def _back(self, worker: Worker) -> None:
        with self._lock:
            if worker not in self._all:  # the parent's, in the child of a fork
                return
            if not worker.is_over() and len(self._idle) < self._kept:
                self._idle.append(worker)
                return
        self._drop(worker)

    def _drop(self, worker: Worker) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.close()

    def close(self) -> None:
        """End all workers; the next piece of work starts others."""
        with self._lock:
            workers, self._all, self._idle = self._all, set(), []
        for worker in workers:
            worker.close()


def _started(limits: Limits) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A process of its own program, never a fork of this one: other threads may hold any lock right now."""
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    ours, its = socket.socketpair()
    with its:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "xooai.media.worker", msgspec.json.encode(limits).decode()],
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, **_LEAN, "PYTHONPATH": path},
                process_group=0,  # Ctrl-C at a terminal is for the server, which ends its workers when it is done
            )
        except OSError as exc:
            ours.close()
            raise _not_started(str(exc)) from exc
    return process, ours


def _not_started(why: str) -> FailedPrecondition:
    error = FailedPrecondition(
        f"the process that decodes what peers send does not start: {why}; XOOAI_DECODE=here decodes without such a process"
    )
    error._is_of_here = True  # names a file of this machine
    return error


def _too_long(what: str, limit: str) -> ResourceExhausted:
    return ResourceExhausted(f"the {what} takes too long to decode: the limit is {limit}", reason="size")


def _crashed(what: str, how: str) -> InvalidArgument:
    return undecodable(what, f"it crashed the decoder ({how})")


def _name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
