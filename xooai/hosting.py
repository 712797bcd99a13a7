"""Serving executors: listeners on a loop of their own, in this thread until a signal comes or in a thread beside it."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec.structs import replace

from xooai import handed, plugins, signals
from xooai.driver import Driver, Listener, ListenOptions, Neighbour, Reloading
from xooai.ending import Ending, all_closed
from xooai.errors import FailedPrecondition, InvalidArgument, PluginError
from xooai.layers.limit import Admission
from xooai.lazy import lazy
from xooai.log import logger
from xooai.over import Passing, over
from xooai.redact import redact
from xooai.routes import Hosted
from xooai.server import Site
from xooai.sync import serving

if TYPE_CHECKING:
    from xooai import guarded, keys, notify, proxies
else:
    guarded = lazy("xooai.guarded")
    keys = lazy("xooai.keys")  # most servers have none
    notify = lazy("xooai.notify")  # most are started by no service manager
    proxies = lazy("xooai.proxies")  # most servers believe none

__all__ = [
    "CUT",
    "DEFAULT_URL",
    "GRACE",
    "SIGNALLED",
    "Background",
    "announce",
    "check",
    "driver_of",
    "each",
    "in_place_of",
    "instead",
    "keyed",
    "listening",
    "managed",
    "new_loop",
    "refuse_unused",
    "serve_until_signal",
    "site_of",
]

_LOG = logger("xooai")
SIGNALLED = 128  # plus its number: the exit code of who was ended by a signal, as shells tell it
CUT = 1  # the exit code of who has cut off calls
KEYS = "XOOAI_KEYS"
"""The environment variable with the name of the file of keys: where it is set, nobody calls without one."""
DEFAULT_URL = "http://127.0.0.1:8080"
GRACE = 30.0  # seconds that calls under way may take when a server stops


Serve = Callable[[Sequence[Hosted], ListenOptions, Ending, Callable[[list[str]], None]], None]
_instead: Serve | None = None


def in_place_of(serve: Serve) -> None:
    """Serve by this function where this process is to serve until a signal: it is a worker, whose supervisor has the ports."""
    global _instead  # noqa: PLW0603 - a process is a worker, or it is none
    _instead = serve


def instead() -> Serve | None:
    """What serves where this process is a worker; None elsewhere."""
    return _instead


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is installed (the extra `http` brings it), asyncio's own loop elsewhere."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()  # type: ignore[no-any-return]


def driver_of(url: str) -> Driver:
    """The driver that listens at a URL. Raises InvalidArgument and PluginError."""
    return plugins.driver(_scheme_of(url))


def _scheme_of(url: str) -> str:
    scheme = urlsplit(url).scheme if isinstance(url, str) else ""
    if not scheme:
        raise InvalidArgument(f"{redact(str(url))!r} is not a URL to listen at; it is written scheme://host:port")
    return scheme


async def _listen(
    site: Site, urls: Sequence[str], options: ListenOptions, listeners: list[Listener], passing: Passing | None = None
) -> None:
    believed = proxies.Proxies(options.trusted_proxies) if options.trusted_proxies else None
    for url in urls:
        listener = await driver_of(url).listen(url, over(site, _scheme_of(url), believed, passing), options)
        listeners.append(listener)


def refuse_in_clear(urls: Sequence[str], options: ListenOptions) -> None:
    """Raise InvalidArgument where a certificate was given, and no URL is of a scheme that uses it."""
    if options.certificate is not None and urls and all(_is_plain(_scheme_of(url)) for url in urls):
        scheme = _scheme_of(urls[0])
        raise InvalidArgument(
            f"certificate={options.certificate!r} is for {scheme}s://, "
            f"and {', '.join(map(redact, urls))} would be served in clear"
        )


def _is_plain(scheme: str) -> bool:
    """Whether there is another scheme that is the same with TLS."""
    try:
        plugins.driver(f"{scheme}s")
    except PluginError:
        return False
    return True


def refuse_unused() -> None:
    """Raise InvalidArgument where a socket was handed over, and no URL is there."""
    if left := handed.unused():
        raise InvalidArgument(
            f"sockets at {', '.join(left)} were handed over, and no URL is there; listen at scheme://host:port of each"
        )


def _introduce(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        if isinstance(listener, Neighbour):
            listener.beside([other.url for other in listeners if other is not listener])


def keyed(options: ListenOptions) -> ListenOptions:
    """Options that allow any address where callers are asked for keys. Raises what is wrong with their file."""
    if not os.environ.get(KEYS):
        return options
    keys.Keyring(os.environ[KEYS])
    return replace(options, insecure=True)


def each(proxies: str | Sequence[str]) -> tuple[str, ...]:
    """Addresses and networks that were given as one or as several."""
    return (proxies,) if isinstance(proxies, str) else tuple(proxies)


def check(urls: Sequence[str], options: ListenOptions) -> None:
    """Listen at `urls` for a moment. Raises what would keep a server from it, before something slow is begun.

    Where sockets were handed over, callers wait there already: then only what is slow is begun.
    """

    Admission(options.limit, options.queue)
    refuse_in_clear(urls, options)
    options = keyed(options)
    if handed.all_handed():
        return

    async def main() -> None:
        site = Site(())
        listeners: list[Listener] = []
        try:
            await _listen(site, urls, options, listeners)
            refuse_unused()
        finally:
            await all_closed(listeners, 0)
            site.threads.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def site_of(executors: Sequence[Hosted], limit: int | None = None, queue: int | None = None) -> Site:
    """A site of executors, which asks for keys where there is a file of them. Raises what is wrong with the file.

    Of all its calls, `limit` run at a time and `queue` wait, beside what each endpoint says for itself.
    """
    path, admission = os.environ.get(KEYS), Admission(limit, queue)
    if path:
        return guarded.GuardedSite(tuple(executors), keys.Keyring(path), admission)
    return Site(tuple(executors), admission=admission)


@asynccontextmanager
async def listening(
    executors: Sequence[Hosted],
    urls: Sequence[str],
    options: ListenOptions,
    ending: Ending,
    site: Site | None = None,
    passing: Passing | None = None,
) -> AsyncIterator[tuple[Site, list[Listener]]]:
    """Listen at `urls`, then set up; on leaving, end as `ending` says. The `site` is made here where none is given.
    Calls may go on to other processes by `passing`.

    Listening comes first: what is wrong with a URL is told before anybody waits for a model, and whoever asks for
    readiness meanwhile gets an answer.
    """
    refuse_in_clear(urls, options)
    site = site or site_of(executors, options.limit, options.queue)
    if os.environ.get(KEYS):
        options = replace(options, insecure=True)
    listeners: list[Listener] = []
    loop = asyncio.get_running_loop()
    serving.add(loop)
    shared = options.shared
    own = [url for url in urls if shared is not None and not shared.sockets(url)]
    try:
        if handed.all_handed():  # who has connected there waits, also for the setup, and is not turned away
            await site.set_up()
        # A port that each process binds for itself brings calls from then on; of a socket that all share, another may accept.
        await _listen(site, [url for url in urls if url not in own], options, listeners, passing)
        refuse_unused()
        if not site.ready():
            await site.set_up()
        await _listen(site, own, options, listeners, passing)
        _introduce(listeners)
        yield site, listeners
    finally:
        await ending.end(site, listeners)
        await site.aclose()
        await site.contents.aclose()
        site.threads.close()
        serving.discard(loop)


def serve_until_signal(
    executors: Sequence[Hosted],
    urls: Sequence[str],
    options: ListenOptions,
    grace: float,
    announce: Callable[[list[str]], None],
    *,
    drain_delay: float = 0,
) -> None:
    """Serve in this thread until SIGINT or SIGTERM; a second one ends the grace. Only the main thread hears signals.

    Raises SystemExit when one comes before the server is ready, and when calls were cut off: who started it must not take that
    for a good end. In a worker it is the supervisor that says when to end.
    """
    if _instead is not None and threading.current_thread() is threading.main_thread():
        _instead(executors, options, Ending(grace, drain_delay), announce)
        return
    if threading.current_thread() is not threading.main_thread():
        raise FailedPrecondition(
            "serve() waits for a signal, which only the main thread gets; elsewhere use start() and stop()"
        )
    if asyncio._get_running_loop() is not None:
        raise FailedPrecondition("serve() blocks, and a loop runs in this thread; use start() and stop()")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        code = runner.run(_until_signal(executors, urls, options, Ending(grace, drain_delay), announce))
    if code:
        raise SystemExit(code)


async def _until_signal(
    executors: Sequence[Hosted],
    urls: Sequence[str],
    options: ListenOptions,
    ending: Ending,
    announce: Callable[[list[str]], None],
) -> int:
    """Serve; return the exit code."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    stopping = asyncio.Event()
    early: signal.Signals | None = None
    reload: Callable[[], None] | None = None  # there is nothing to read anew before all has been read once

    def stop(number: signal.Signals) -> None:
        nonlocal early
        if stopping.is_set():
            ending.forced.set()
            return
        stopping.set()
        if reload is None:  # a setup that takes long is not waited for
            early = number
            task.cancel()

    def hang_up() -> None:
        if reload is not None and not stopping.is_set():
            reload()

    try:
        with signals.heard(loop, stop, hang_up), managed() as manager:
            async with listening(executors, urls, options, ending) as (site, listeners):
                reload = partial(_reload, site, listeners, manager)
                bound = [listener.url for listener in listeners]
                announce(bound)
                if manager is not None:
                    manager.ready(bound)
                await stopping.wait()
                if manager is not None:
                    manager.stopping()
    except asyncio.CancelledError:
        if early is None:
            raise
        _LOG.warning("%s came before the server was ready; nothing was served", early.name)
        return SIGNALLED + early
    return CUT if ending.cut else 0


def _reload(site: Site, listeners: Sequence[Listener], manager: notify.Manager | None) -> None:
    """Read anew what was read from files: keys and certificates. What is wrong is told to the log and changes nothing."""
    if manager is not None:
        manager.reloading()
    for one in (site, *listeners):
        if isinstance(one, Reloading):
            one.reload()
    if manager is not None:
        manager.reloaded()


@contextmanager
def managed() -> Iterator[notify.Manager | None]:
    """The service manager, where one wants to be told."""
    if not os.environ.get("NOTIFY_SOCKET"):
        yield None
        return
    manager = notify.Manager()
    try:
        yield manager
    finally:
        manager.close()


class Background:
    """A server in a thread of its own, with its own loop."""

    def __init__(self, executors: Sequence[Hosted], urls: Sequence[str], options: ListenOptions, grace: float) -> None:
        self._arguments = (executors, urls, options, grace)
        self._bound: list[str] = []
        self._error: BaseException | None = None
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="xooai-server", daemon=True)

    def start(self) -> list[str]:
        """Begin; return the bound URLs. Raises what listening raised."""
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            self._raise()
        return self._bound

    def stop(self) -> None:
        """Drain and end; twice does no harm."""
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(stopping.set)
            except RuntimeError:
                pass  # closed in between
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._raise()

    def _raise(self) -> None:
        """Raise what ended the server, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to whoever started or stops this server
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        executors, urls, options, grace = self._arguments
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with listening(executors, urls, options, Ending(grace)) as (_, listeners):
            self._bound = [listener.url for listener in listeners]
            self._started.set()
            await self._stopping.wait()


def announce(urls: Sequence[str]) -> None:
    """The one line that a program prints when it serves."""
    print(f"xooai serves at {' '.join(urls)}", flush=True)
