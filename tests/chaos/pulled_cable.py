"""Run in a network of its own: a client and a server, between which not a packet passes any more while a call runs.

Arguments: the scheme. Writes JSON: how the call ended, after how many seconds, how often it ran, and after how many seconds
the server gave it up.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import suppress

from xooai import Executor, Unavailable, XooaiError, post, serve

NEAR, FAR = "10.9.0.1", "10.9.0.2"
PORT = 7001
LONG = 100.0  # seconds for both sides to notice


class Beyond(Executor):
    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    @post
    async def once(self) -> int:
        return self.runs

    @post
    async def wait(self) -> None:
        self.runs += 1
        tell(f"runs {self.runs}")
        try:
            await asyncio.Event().wait()
        finally:
            tell("left")


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def ip(*words: str, inside: int | None = None) -> None:
    within = [] if inside is None else ["nsenter", "--target", str(inside), "--net"]
    subprocess.run([*within, "ip", *words], check=True)


def pull(inside: int) -> None:
    """Send what goes to the other side to nobody, in both directions: neither learns of it."""
    ip("neigh", "replace", FAR, "lladdr", "02:00:00:00:00:99", "dev", "near", "nud", "permanent")
    ip("neigh", "replace", NEAR, "lladdr", "02:00:00:00:00:99", "dev", "far", "nud", "permanent", inside=inside)


async def called(scheme: str, server: subprocess.Popen[str]) -> dict[str, object]:
    async with Beyond.at(f"{scheme}://{FAR}:{PORT}", timeout=None) as client:
        for _ in range(100):
            with suppress(Unavailable):
                await client.apost("once")
                break
        call = asyncio.create_task(client.apost("wait"))
        assert server.stdout is not None
        while "runs" not in await asyncio.to_thread(server.stdout.readline):
            pass
        pull(server.pid)
        began = time.monotonic()
        left = asyncio.create_task(asyncio.to_thread(server.stdout.readline))
        found: dict[str, object] = {}
        try:
            await asyncio.wait_for(call, LONG)
        except XooaiError as error:
            found |= {"error": type(error).__name__, "never_ran": error.never_ran, "after": time.monotonic() - began}
        return found | {"told": await asyncio.wait_for(left, LONG), "left": time.monotonic() - began}


def main(scheme: str) -> None:
    ip("link", "set", "lo", "up")
    line = ["unshare", "--net", sys.executable, __file__, scheme, "serve"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdout.readline()
        ip("link", "add", "near", "type", "veth", "peer", "name", "far")
        ip("link", "set", "far", "netns", str(server.pid))
        ip("addr", "add", f"{NEAR}/24", "dev", "near")
        ip("link", "set", "near", "up")
        server.stdin.write("\n")
        server.stdin.flush()
        try:
            sys.stdout.write(json.dumps(asyncio.run(called(scheme, server))))
        finally:
            server.kill()


def beyond(scheme: str) -> None:
    tell("here")
    sys.stdin.readline()
    ip("addr", "add", f"{FAR}/24", "dev", "far")
    ip("link", "set", "far", "up")
    serve(Beyond(), at=(f"{scheme}://{FAR}:{PORT}",), insecure=True)


if __name__ == "__main__":
    (beyond if len(sys.argv) > 2 else main)(sys.argv[1])
