"""What does a Flow of three nodes cost its caller, in this process and elsewhere, against calling the nodes by hand?

In process the limit is the sum of the nodes' own posts; elsewhere it is the same three calls over raw sockets.
"""

import asyncio
import contextlib
import functools
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence

import psutil

import report
from exchanges import COMBO, joined
from options import Options
from processes import cores, end_when_terminated
from race import Runner, Spent, race, table
from servers import xooai_echo
from servers.beside import IDS, started
from servers.hops import Node
from xooai import Flow

KEYS = ("flow-async", "flow-def", "flow-remote", "nodes-remote")
Call = Callable[[], object]
CallAsync = Callable[[], Awaitable[object]]
DOC = xooai_echo.Document.model_validate(COMBO)


def blocking(call: Call, calls: int, _callers: int) -> Spent:
    """Make the calls one after the other."""
    with Spent() as spent:
        for _ in range(calls):
            call()
    return spent


def awaiting(loop: asyncio.Runner, call: CallAsync, calls: int, callers: int) -> Spent:
    """Let the callers share the calls."""

    async def repeat() -> None:
        for _ in range(calls // callers):
            await call()

    async def run() -> Spent:
        with Spent() as spent:
            await asyncio.gather(*(repeat() for _ in range(callers)))
        return spent

    return loop.run(run())


def flow(uses: dict[str, object], first: str | None, then: str | None) -> Flow:
    """A Flow of two echoes side by side, and a third node that makes one document of both."""
    f = Flow().add(use=uses["left"], on=first, id="left").add(use=uses["right"], on=first, id="right")
    return f.add(use=uses["join"], on=then, id="join", needs=("left", "right"))


def here(loop: asyncio.Runner) -> list[list[Runner]]:
    """The nodes as `async def` and as `def` handlers in this process, each as own posts and as a Flow."""
    echo = xooai_echo.Echo()

    async def nodes() -> object:
        left = await echo.apost(on="combo", doc=DOC)
        right = await echo.apost(on="combo", doc=DOC)
        return await echo.apost(on="join", left=left, right=right)

    def nodes_in_threads() -> object:
        left = echo.post(on="combo_in_thread", doc=DOC)
        right = echo.post(on="combo_in_thread", doc=DOC)
        return echo.post(on="join_in_thread", left=left, right=right)

    uses: dict[str, object] = dict.fromkeys(IDS, echo)
    f, g = flow(uses, "combo", "join"), flow(uses, "combo_in_thread", "join_in_thread")
    if not f.post(doc=DOC) == g.post(doc=DOC) == nodes_in_threads() == loop.run(nodes()):
        raise SystemExit("the Flows and their nodes' own posts give different answers")
    apost, post = functools.partial(f.apost, doc=DOC), functools.partial(g.post, doc=DOC)
    return [
        [
            Runner("limit-async", "limit: three aposts, async def", functools.partial(awaiting, loop, nodes)),
            Runner("flow-async", "apost of a Flow of the same", functools.partial(awaiting, loop, apost)),
        ],
        [
            Runner("limit-def", "limit: three posts, def", functools.partial(blocking, nodes_in_threads)),
            Runner("flow-def", "post of a Flow of the same", functools.partial(blocking, post)),
        ],
    ]


@contextlib.contextmanager
def elsewhere(loop: asyncio.Runner, core: int, callers: Sequence[int]) -> Iterator[list[Runner]]:
    """The nodes in three processes on another core, asked over raw sockets, by xooai's clients, and by a Flow."""
    ports = started("xooai_echo")
    children = psutil.Process().children()
    for child in children:
        child.cpu_affinity([core])
    try:
        yield remote(loop, ports, callers)
    finally:
        for child in children:
            child.terminate()
        psutil.wait_procs(children, timeout=10)


def remote(loop: asyncio.Runner, ports: dict[str, int], callers: Sequence[int]) -> list[Runner]:
    """Return the runners that ask these ports."""
    paths = {"left": "/echo/combo", "right": "/echo/combo", "join": "/echo/join"}
    raw = {name: Node(ports[name], paths[name]) for name in IDS}
    clients = {name: xooai_echo.Echo.at(f"http://127.0.0.1:{ports[name]}") for name in IDS}
    body = joined("").body
    f = flow({name: f"http://127.0.0.1:{ports[name]}{paths[name]}" for name in IDS}, None, None)

    async def by_hand() -> object:
        left, right = await asyncio.gather(raw["left"].call(body), raw["right"].call(body))
        return await raw["join"].call(b'{"left":%b,"right":%b}' % (left, right))

    async def by_clients() -> object:
        asked = (clients[name].apost(on="combo", doc=DOC) for name in ("left", "right"))
        left, right = await asyncio.gather(*asked)
        return await clients["join"].apost(on="join", left=left, right=right)

    def of(key: str, name: str, call: CallAsync) -> Runner:
        return Runner(key, name, functools.partial(awaiting, loop, call), callers)

    return [
        of("limit-remote", "limit: three calls over raw sockets, ready bytes", by_hand),
        of("nodes-remote", "three aposts of xooai's clients", by_clients),
        of("flow-remote", "apost of a Flow of three URLs", functools.partial(f.apost, doc=DOC)),
    ]


def main() -> None:
    """Measure and print a table each for what is here and what is elsewhere."""
    parser = Options(__doc__, KEYS, seconds=0.5, rounds=5)
    parser.add_connections("1,16")
    options = parser.parse_args()
    end_when_terminated()
    server_core, own_core = cores()
    os.sched_setaffinity(0, {own_core})
    with asyncio.Runner() as loop, elsewhere(loop, server_core, options.connections) as far:
        print(f"{report.machine()}; {options.rounds} rounds of {options.seconds:g} s")
        for limit, *others in [*here(loop), far]:
            chosen = [limit, *(one for one in others if one.key in options.only)]
            if len(chosen) > 1:
                race(chosen, limit.callers, options.rounds, options.seconds)
                print(f"\n{table(chosen, limit, limit.callers, options.markdown)}")


if __name__ == "__main__":
    main()
