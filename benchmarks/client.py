"""What does a call cost its caller in CPU: xooai's client, encoding included, against a bare socket client and others?

All ask the same server, in another process on another core. CPU counts every thread of the caller's process.
"""

import asyncio
import contextlib
import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator

import peers
import report
from callers import Call, Xooai, aiohttp, bare, blocking_httpx, http_client, httpx
from contest import Entry
from exchanges import combo
from options import Options
from processes import cores, end_when_terminated
from race import Runner, Spent, race, table

XOOAI = Entry("xooai", "xooai", "xooai_echo", "xooai", combo("/echo/combo"), "xooai")
LIMIT = Entry("limit", "bare ASGI on uvicorn", "limit", "uvicorn", combo("/combo"), "limit")
KEYS = (
    "bare",
    "xooai-json",
    "xooai-msgpack",
    "aiohttp",
    "httpx",
    "xooai-post-json",
    "xooai-post-msgpack",
    "http.client",
    "httpx-sync",
)
Opener = Callable[..., contextlib.AbstractAsyncContextManager[list[Call]]]
BlockingOpener = Callable[..., contextlib.AbstractContextManager[Callable[[], object]]]


def awaited(loop: asyncio.Runner, opened: Opener, calls: int, count: int) -> Spent:
    """Let `count` callers share the calls."""

    async def repeat(call: Call, times: int) -> None:
        for _ in range(times):
            await call()

    async def run() -> Spent:
        async with opened(count) as each:
            await asyncio.gather(*(repeat(call, 2) for call in each))
            with Spent() as spent:
                await asyncio.gather(*(repeat(call, calls // count) for call in each))
            return spent

    return loop.run(run())


def blocked(opened: BlockingOpener, calls: int, _count: int) -> Spent:
    """Make the calls one after the other."""
    with opened() as call:
        call()
        with Spent() as spent:
            for _ in range(calls):
                call()
        return spent


def runners(loop: asyncio.Runner, port: int, server: Entry, connections: list[int]) -> Iterator[Runner]:
    """Return a runner for each client whose module is there."""
    ask = server.exchange

    def of(key: str, name: str, opener: Opener) -> Runner:
        return Runner(key, name, functools.partial(awaited, loop, functools.partial(opener, port, ask)), connections)

    def of_blocking(key: str, name: str, opener: BlockingOpener) -> Runner:
        return Runner(key, name, functools.partial(blocked, functools.partial(opener, port, ask)))

    yield of("bare", "limit: bare asyncio protocol, ready bytes", bare)
    for codec in ("json", "msgpack") if server is XOOAI else ():
        client = Xooai(codec)
        yield of(f"xooai-{codec}", f"xooai apost, {codec}", client.apost)
        yield of_blocking(f"xooai-post-{codec}", f"xooai post, {codec}", client.post)
    if importlib.util.find_spec("aiohttp"):
        yield of("aiohttp", "aiohttp, ready bytes", aiohttp)
    if importlib.util.find_spec("httpx"):
        yield of("httpx", "httpx, ready bytes", httpx)
        yield of_blocking("httpx-sync", "httpx blocking, ready bytes", blocking_httpx)
    yield of_blocking("http.client", "http.client, ready bytes", http_client)


def main() -> None:
    """Measure and print the table."""
    parser = Options(__doc__, KEYS, seconds=1, rounds=5)
    parser.add_connections("1,16")
    parser.add_argument(
        "--loop", choices=["asyncio", "uvloop"], default="asyncio", help="the callers' event loop (default: asyncio)"
    )
    options = parser.parse_args()
    end_when_terminated()
    server_core, own_core = cores()
    os.sched_setaffinity(0, {own_core})
    for module in ("xooai", "aiohttp", "httpx"):
        if not importlib.util.find_spec(module):
            print(f"without {module}: {peers.missing(module)}", file=sys.stderr)
    server = XOOAI if importlib.util.find_spec("xooai") else LIMIT
    factory = importlib.import_module("uvloop").new_event_loop if options.loop == "uvloop" else None
    with server.server(sys.executable, server_core) as child, asyncio.Runner(loop_factory=factory) as loop:
        child.first_answer(server.exchange)
        every = runners(loop, child.port, server, options.connections)
        made = [one for one in every if one.key in ("bare", *options.only)]
        race(made, options.connections, options.rounds, options.seconds)
    turns = f"{options.rounds} rounds of {options.seconds:g} s on {options.loop}"
    print(f"{report.machine()}; {turns}; server: {server.name}\n")
    print(table(made, made[0], options.connections, options.markdown))


if __name__ == "__main__":
    main()
