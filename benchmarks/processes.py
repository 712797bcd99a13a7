"""A server child: started in a process of its own, pinned to a core, watched, paused, ended with all its children."""

import http.client
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import psutil

from exchanges import Exchange

START_LIMIT = 120.0  # seconds to the first answer; the slowest peer known (Ray Serve) takes 36
END_LIMIT = 10.0  # seconds to end when asked, before everything is killed; BentoML takes about two
MIB = 2**20
HERE = Path(__file__).parent


class ServerError(RuntimeError):
    """A server that does not start, or answers wrongly."""


def end_when_terminated() -> None:
    """Let SIGTERM end the program as Ctrl-C does, so that no server outlives it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def cores() -> tuple[int, int]:
    """Return the core for the server and the one for the load; the same when this process may use only one."""
    allowed = psutil.Process().cpu_affinity() or [0]
    return allowed[0], allowed[-1]


def free_port() -> int:
    """Return a port that was free a moment ago: the peers can be told a port, but cannot tell which they took."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Server:
    """A server on a port of 127.0.0.1; the `with` block owns it and everything it starts."""

    def __init__(self, command: list[str], port: int, core: int) -> None:
        self.port = port
        self._command = [*command, str(port)]
        self._core = core

    def __enter__(self) -> "Server":
        self._log = tempfile.TemporaryFile()
        self._child = subprocess.Popen(
            self._command,
            cwd=HERE,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._process = psutil.Process(self._child.pid)
            self._process.cpu_affinity([self._core])
        except BaseException:  # whatever it is, Ctrl-C too: nobody else knows the child yet
            self._child.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tree = self._tree()
        try:
            self.resume()
            self._child.terminate()
            self._child.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            pass
        finally:
            for process in tree:
                if process.is_running():
                    process.kill()
            self._child.wait()
            self._log.close()

    def first_answer(self, exchange: Exchange, every: float = 0.02) -> bytes:
        """Return the body of the first right answer, asking again every `every` seconds until it comes."""
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                status, reply = exchange.ask(self.port, START_LIMIT)
            except (OSError, http.client.HTTPException) as error:
                status, reply = 0, repr(error).encode()
            if status == 200:
                break
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"{self._command} gave no answer: {reply[:500]!r}\n{self._last_words()}")
            time.sleep(every)
        if not exchange.means(reply):
            raise ServerError(f"{self._command} answered {exchange.path} wrongly: {reply[:500]!r}")
        return reply

    def cpu(self) -> float:
        """Return the CPU seconds that it and its children used so far."""
        times = [process.cpu_times() for process in self._tree()]
        return sum(t.user + t.system + t.children_user + t.children_system for t in times)

    def memory(self) -> float:
        """Return the resident MiB of it and its children; pages that they share count in each."""
        return sum(process.memory_info().rss for process in self._tree()) / MIB

    def pause(self) -> None:
        """Stop it, so that it takes nothing from the server being measured."""
        for process in self._tree():
            process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        for process in reversed(self._tree()):
            process.resume()

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:].decode(errors="replace")
