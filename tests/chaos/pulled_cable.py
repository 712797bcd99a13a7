"""Run in a network of its own: a client and a server, between which not a packet passes any more at some moment.

Arguments: the scheme, what is going on when the cable is pulled, and a certificate where the scheme needs one. Writes JSON: what
came of the calls, see `SCENES`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from xooai import Executor, Unavailable, XooaiError, post, serve

NEAR, FAR = "10.9.0.1", "10.9.0.2"
PORT = 7001
LONG = 100.0  # seconds for both sides to notice
SHORT = 2.0  # seconds that a call has which is begun when the cable is out
AWAY = 5.0  # seconds that it is out while another server begins; idle connections are used for four


class Beyond(Executor):
    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    @post
    async def once(self) -> int:
        self.runs += 1
        return self.runs

    @post
    async def wait(self) -> None:
        tell("runs")
        try:
            await asyncio.Event().wait()
        finally:
            tell("left")


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Far:
    """The network on the other side of a cable, and a server in it."""

    def __init__(self, *serving: str) -> None:
        self._serving = serving
        self._place = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._place.stdin is not None
        assert self._place.stdout is not None
        self._place.stdin.write(b"\n")
        self._place.stdin.flush()
        self._place.stdout.readline()  # it is there
        self._within = ["nsenter", "--target", str(self._place.pid), "--net"]
        ip("link", "add", "near", "type", "veth", "peer", "name", "far")
        ip("link", "set", "far", "netns", str(self._place.pid))
        for within, name, address in (([], "near", NEAR), (self._within, "far", FAR)):
            ip("addr", "add", f"{address}/24", "dev", name, within=within)
            ip("link", "set", name, "up", within=within)
        self._server = self._begun()

    def _begun(self) -> subprocess.Popen[str]:
        line = [*self._within, sys.executable, __file__, "serve", *self._serving]
        return subprocess.Popen(line, stdout=subprocess.PIPE, text=True)

    def told(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()

    def another_server(self) -> None:
        """End the one that there is without its saying so, and begin another in its place."""
        self._end()
        self._server = self._begun()

    def _end(self) -> None:
        self._server.kill()
        self._server.communicate()

    def pull(self) -> None:
        """Send what goes to the other side to nobody, in both directions: neither learns of it."""
        self._cable("replace", "lladdr", "02:00:00:00:00:99", "nud", "permanent")

    def plug_in(self) -> None:
        self._cable("del")

    def _cable(self, what: str, *how: str) -> None:
        ip("neigh", what, FAR, "dev", "near", *how)
        ip("neigh", what, NEAR, "dev", "far", *how, within=self._within)

    def close(self) -> None:
        self._end()
        self._place.kill()
        self._place.communicate()


def ip(*words: str, within: list[str] | None = None) -> None:
    subprocess.run([*(within or ()), "ip", *words], check=True)


async def of(call: Coroutine[Any, Any, Any]) -> dict[str, object]:
    """What came of a call, and after how many seconds."""
    began = time.monotonic()
    found: dict[str, object] = {}
    try:
        found["result"] = await asyncio.wait_for(call, LONG)
    except XooaiError as error:
        found |= {"error": type(error).__name__, "never_ran": error.never_ran}
    return found | {"after": time.monotonic() - began}


async def under_way(client: Beyond, far: Far) -> dict[str, object]:
    """One call runs; another is made when the cable is out."""
    running = asyncio.create_task(of(client.apost("wait")))
    while await asyncio.to_thread(far.told) != "runs":
        pass
    far.pull()
    began = time.monotonic()
    left = asyncio.create_task(asyncio.to_thread(far.told))
    found: dict[str, object] = {"short": await of(client.apost("once", timeout=SHORT)), "running": await running}
    return found | {"told": await asyncio.wait_for(left, LONG), "left": time.monotonic() - began}


async def idle(client: Beyond, far: Far) -> dict[str, object]:
    """No call runs; there is another server when the cable is in again, which knows nothing of this client."""
    far.pull()
    far.another_server()
    await asyncio.sleep(AWAY)
    far.plug_in()
    return {"first": await of(client.apost("once", timeout=LONG)), "second": await of(client.apost("once"))}


SCENES: dict[str, Callable[[Beyond, Far], Coroutine[Any, Any, dict[str, object]]]] = {
    "under way": under_way,
    "idle": idle,
}


async def played(scheme: str, scene: str, far: Far) -> dict[str, object]:
    async with Beyond.at(f"{scheme}://{FAR}:{PORT}", timeout=None) as client:
        for _ in range(100):
            with suppress(Unavailable):
                await client.apost("once")
                break
        return await SCENES[scene](client, far)


def main(scheme: str, scene: str, *certificate: str) -> None:
    ip("link", "set", "lo", "up")
    far = Far(scheme, *certificate)
    try:
        tell(json.dumps(asyncio.run(played(scheme, scene, far))))
    finally:
        far.close()


def beyond(scheme: str, certificate: str | None = None) -> None:
    serve(Beyond(), at=(f"{scheme}://{FAR}:{PORT}",), insecure=True, certificate=certificate)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        beyond(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
