"""A worker's own side: makes what it serves, tells its supervisor how it is, and ends when it is told to."""

from __future__ import annotations

import asyncio
import faulthandler
import io
import itertools
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, redirect_stdout
from functools import partial
from importlib import import_module
from multiprocessing import current_process, spawn
from pathlib import Path
from threading import Thread

import msgspec
from msgspec.structs import replace

from xooai import control, hosting, loading
from xooai.driver import ListenOptions
from xooai.ending import Ending
from xooai.errors import XooaiError
from xooai.isolated import near
from xooai.layers.limit import Admission
from xooai.log import logger, one_line
from xooai.routes import Hosted
from xooai.server import Site
from xooai.workers.apart import Apart, Role, found, path_of, take
from xooai.workers.messages import (
    Answers,
    Ask,
    Beat,
    Closing,
    Connection,
    Drain,
    Failed,
    Force,
    Question,
    Ready,
    Told,
    read_first,
    tell,
)
from xooai.workers.passing import Passing
from xooai.workers.plan import Command, Recipe, Servable, Written, made, unpacked
from xooai.workers.spawned import UNHEARD, Start
from xooai.workers.strays import Strays
from xooai.workers.table import Share, Table

__all__ = ["main"]

_LOG = logger("xooai.workers")
BEAT = 0.5  # seconds between two signs of life: some beats must be missed before a loop is called stuck
_OWN = str(Path(__file__).resolve().parent.parent)
_TERMINATED = 128 + signal.SIGTERM
GLANCE = 500  # milliseconds between two looks whether one that loads still has a supervisor
ORDER = 1.0  # seconds for the word of the supervisor, where somebody sends SIGTERM to all processes of a server


def main(descriptor: int) -> None:
    """Serve as a worker, whose supervisor is at the other end of a socket."""
    used = socket.socket(fileno=descriptor)
    try:
        start = msgspec.msgpack.decode(read_first(used), type=Start)
    except (EOFError, ConnectionError):  # it has ended before it said what is to be served
        return
    for handed in (descriptor, start.stacks, start.table, *(fd for fds in start.sockets.values() for fd in fds)):
        os.set_inheritable(handed, False)  # what this worker starts must not hold them open
    for number in UNHEARD:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, UNHEARD)
    faulthandler.enable(start.stacks)
    faulthandler.register(signal.SIGQUIT, start.stacks)
    paths = {name: path_of(start.folder, place) for place, name in enumerate(start.isolated)}
    take(Role(paths, start.own))
    serving = _Serving(used.dup(), start, paths.get(start.own))
    hosting.in_place_of(serving.serve)
    Thread(target=serving.end_alone, args=(used,), name="xooai-supervisor", daemon=True).start()
    code = 1
    try:
        code = _run(start.packed)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        if isinstance(error.code, str):
            _fail(used, error.code, code)
    except Exception as error:  # noqa: BLE001 - the one place that tells of it
        if os.environ.get("XOOAI_TRACEBACK", "0") not in ("", "0"):
            traceback.print_exception(error)
        reason, code = _told(error)
        _fail(used, reason, code)
    sys.exit(code)


def _run(packed: bytes) -> int:
    """Make what is served, and serve it to the end; return the exit code."""
    preparation, work = unpacked(packed)
    if preparation is not None:
        # As in multiprocessing's own: meanwhile no process may be started.
        current_process()._inheriting = True  # type: ignore[attr-defined]
        try:
            spawn.prepare(preparation)
        finally:
            del current_process()._inheriting  # type: ignore[attr-defined]
    load = work()
    if isinstance(load, Command):
        code: int = import_module("xooai.cli.worker").run(load.args)
        return code
    _serve_made(load.recipes, load.urls, load.options, load.ending)
    return 0


def _serve_made(
    recipes: Sequence[Recipe | Written], urls: Sequence[str], options: ListenOptions, ending: tuple[float, float]
) -> None:
    executors = [one for recipe in recipes if (one := _found(recipe)) is not None]
    try:
        hosted = [one._xooai_hosted() for one in executors]
        hosting.serve_until_signal(hosted, urls, options, ending[0], hosting.announce, drain_delay=ending[1])
    finally:
        for one in executors:
            one._xooai_served()
            one.close()


def _found(recipe: Recipe | Written) -> Servable | Apart | None:
    """What this process hosts of it."""
    if isinstance(recipe, Written):
        return made(recipe)
    return found(recipe.kind, recipe.by_name, lambda: made(recipe))


def _told(error: Exception) -> tuple[str, int]:
    """A failure in one line, and the exit code that goes with it."""
    if isinstance(code := getattr(error, "exit_code", None), int) and isinstance(error, XooaiError):
        return one_line(error.message), code  # of the command line, which has found words for it
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OWN)]
    text = error.message if isinstance(error, XooaiError) else f"{type(error).__name__}: {error}"
    where = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return one_line(f"{text}{where}"), 1


def _fail(used: socket.socket, reason: str, code: int) -> None:
    try:
        tell(used, Failed(reason, code))
    except OSError:
        print(f"xooai: {reason}", file=sys.stderr)


class _Serving:
    """What serves in a worker, in place of `serve_until_signal`."""

    def __init__(self, used: socket.socket, start: Start, path: str | None) -> None:
        """`path` is the socket of the executor that is isolated in this process, if one is."""
        self._socket = used
        self._path = path
        self._start = start
        self._table = Table(start.table, start.rows)
        handed = {url: [socket.socket(fileno=fd) for fd in fds] for url, fds in start.sockets.items()}
        for one in itertools.chain(*handed.values()):
            one.setblocking(False)
        self._share = Share(self._table, start.row, handed, start.secrets, Strays(Path(start.folder), start.row))
        # Also where it listens at no URL: others pass calls on to it.
        passes = start.count > 1 and path is None
        self._passing = Passing(self._table, start.row, start.folder) if passes else None
        self._asked: dict[int, asyncio.Future[list[bytes]]] = {}
        self._ids = itertools.count()
        self._connection: Connection | None = None
        self._is_up = False
        self._is_ended = False

    def serve(
        self,
        executors: Sequence[Hosted],
        options: ListenOptions,
        ending: Ending,
        announce: Callable[[list[str]], None],
    ) -> None:
        """Serve at the URLs of the supervisor until it says that it is enough. Raises SystemExit where calls were cut off."""
        with asyncio.Runner(loop_factory=hosting.new_loop) as runner:
            runner.run(self._serve(executors, replace(options, shared=self._share), ending, announce))
        if not self._is_up:
            raise SystemExit(_TERMINATED)
        if ending.cut:
            raise SystemExit(hosting.CUT)

    async def _serve(
        self,
        executors: Sequence[Hosted],
        options: ListenOptions,
        ending: Ending,
        announce: Callable[[list[str]], None],
    ) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._stopping, self._forced, self._task = asyncio.Event(), ending.forced, task
        self._connection = connection = await Connection.over(self._socket)
        loading.here.tell = partial(_tell, loop, connection)
        control.join(self)
        loop.add_signal_handler(signal.SIGTERM, self._terminated)
        others = [loop.create_task(self._listen(connection)), loop.create_task(_beat(connection, self._share))]
        try:
            async with self._listening(executors, options, ending):
                self._is_up = True
                connection.send(Ready(_printed(announce, list(self._start.urls))))
                await self._stopping.wait()
                if not self._share.is_last or self._path is not None:  # others are ready, so nobody needs to find out
                    self._table.clear(self._start.row)
                    ending.delay = 0
        except asyncio.CancelledError:
            if not self._is_ended:
                raise
        finally:
            control.join(None)
            loading.here.tell = None
            for one in others:
                one.cancel()
            await asyncio.wait(others)
            connection.send(Closing())
            await connection.flushed()
            connection.close()

    @asynccontextmanager
    async def _listening(
        self, executors: Sequence[Hosted], options: ListenOptions, ending: Ending
    ) -> AsyncIterator[None]:
        if self._path is None:
            passing, urls = self._passing, self._start.urls
            try:
                async with hosting.listening(executors, urls, options, ending, passing=passing) as (site, listeners):
                    if passing is not None and (taking := await passing.listen(site)) is not None:
                        listeners.append(taking)
                    yield
            finally:
                if passing is not None:
                    await passing.aclose()
            return
        # Who may call was asked where the calls came in, and what the whole server takes is counted there.
        site = Site(tuple(executors), admission=Admission())
        async with hosting.listening(executors, (), options, ending, site) as (_, listeners):
            listeners.append(await near.listen(self._path, site))
            yield

    def end_alone(self, used: socket.socket) -> None:
        """End this process where its supervisor ends before it is up: what loads hears nothing, and holds the ports."""
        ends = select.poll()
        ends.register(used, 0)  # that the other side is closed is always told
        while not self._is_up:
            if ends.poll(GLANCE) and not self._is_up:
                os._exit(_TERMINATED)

    def _terminated(self) -> None:
        """End, by what the supervisor says of how, where it says something. Whom other workers call waits for its word: a service
        manager tells all processes at once to end.
        """
        if not self._is_up:
            self._stop()
        elif self._path is None:
            asyncio.get_running_loop().call_later(ORDER, self._stop)

    def _stop(self) -> None:
        """End, once; a setup that takes long is not waited for."""
        if not self._is_ended:
            self._is_ended = True
            self._stopping.set()
            if not self._is_up:
                self._task.cancel()

    async def _listen(self, connection: Connection) -> None:
        """Do what the supervisor says; without one, end."""
        while (message := await connection.receive()) is not None:
            match message:
                case Drain(is_last):
                    self._share.is_last = is_last
                    self._stop()
                case Force():
                    self._forced.set()
                case Question(id, name):
                    connection.send(Told(id, _own(name)))
                case Answers(id, answers) if (asked := self._asked.get(id)) is not None and not asked.done():
                    asked.set_result(answers)
        self._stop()

    async def ask(self, name: str) -> list[bytes]:
        """The answers of the other workers, by way of the supervisor."""
        connection, number = self._connection, next(self._ids)
        assert connection is not None
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        connection.send(Ask(number, name))
        try:
            async with asyncio.timeout(control.WAIT):
                answers: list[bytes] = await asked
        except TimeoutError:
            answers = []
        finally:
            del self._asked[number]
        return answers


def _own(name: str) -> bytes | None:
    try:
        return control.own(name)
    except Exception:  # noqa: BLE001 - somebody's code, which must not end this worker
        _LOG.exception("the answer to %s failed", name)
        return None


def _tell(loop: asyncio.AbstractEventLoop, connection: Connection, stage: str) -> None:
    """Tell of a stage, from any thread: what is set up may start servers of its own, on another loop."""
    if asyncio._get_running_loop() is loop:
        connection.send(Beat(stage))  # now: the loop may not run until the stage is over
    else:
        loop.call_soon_threadsafe(connection.send, Beat(stage))


async def _beat(connection: Connection, share: Share) -> None:
    while True:
        connection.send(Beat(loading.here.stage))
        share.tell()
        await asyncio.sleep(BEAT)


def _printed(announce: Callable[[list[str]], None], bound: list[str]) -> str:
    """What a server alone would print when it is up."""
    text = io.StringIO()
    with redirect_stdout(text):
        announce(bound)
    return text.getvalue()
