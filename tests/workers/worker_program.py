"""A program that serves by workers, and whose endpoints do to their process what they are asked to.

`python worker_program.py URLS WORKERS`, URLS with commas between them.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from pathlib import Path

from xooai import Executor, Flow, control, post, serve

control.answer("test.pid", lambda: str(os.getpid()).encode())


def noted(id: str, what: str) -> None:
    with Path(os.environ["TEST_NOTES"]).open("a") as notes:
        notes.write(f"{id} {what} {os.getpid()}\n")


async def worked(id: str, seconds: float) -> str:
    noted(id, "began")
    await asyncio.sleep(seconds)
    noted(id, "done")
    return str(os.getpid())


class Faulty(Executor):
    def __init__(self, device: str = "none") -> None:
        super().__init__()
        self.device = device
        self.pauses = 0
        if (told := os.environ.get("TEST_FAILS")) and Path(told).exists():
            raise ValueError("no such model")
        if (told := os.environ.get("TEST_LOADS")) and Path(told).exists():
            time.sleep(60)

    async def setup(self) -> None:
        seconds = float(os.environ.get("TEST_SETUP", "0"))
        if os.environ.get("XOOAI_WORKER") == "2":
            time.sleep(seconds)  # noqa: ASYNC251 - a model that lets nothing else run while it loads
        else:
            await asyncio.sleep(seconds)

    def close(self) -> None:
        if told := os.environ.get("TEST_CLOSED"):
            time.sleep(4)
            Path(told).touch()

    @post
    async def who(self) -> dict[str, str]:
        return {"pid": str(os.getpid()), "number": os.environ["XOOAI_WORKER"], "device": self.device}

    @post
    def note(self, id: str) -> str:
        with Path(os.environ["TEST_NOTES"]).open("a") as notes:
            notes.write(f"{id}\n")
        return str(os.getpid())

    @post
    async def work(self, id: str, seconds: float) -> str:
        return await worked(id, seconds)

    @post(idempotent=True)
    async def work_again(self, id: str, seconds: float) -> str:
        return await worked(id, seconds)

    @post
    async def asked(self) -> list[str]:
        return [answer.decode() for answer in await control.ask("test.pid")]

    @post
    async def states(self) -> list[str]:
        return [answer.decode() for answer in await control.ask("workers")]

    @post
    def wait(self, seconds: float) -> str:
        time.sleep(seconds)
        return str(os.getpid())

    @post
    async def pause(self, seconds: float) -> None:
        self.pauses += 1
        await asyncio.sleep(seconds)

    @post
    async def paused(self) -> int:
        return self.pauses

    @post
    async def block(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - the loop is to stand still

    @post
    async def exit(self) -> None:
        os._exit(3)

    @post
    async def crash(self) -> None:
        ctypes.string_at(0)

    @post
    async def exhaust(self) -> None:
        raise MemoryError

    @post
    async def devour(self) -> None:
        taken = []
        for _ in range(200):  # not all that the machine has
            taken.append(b"x" * 10_000_000)
            await asyncio.sleep(0)


if __name__ == "__main__":
    flow = Flow(name="faulty")
    flow.add(use=Faulty, on="who", id="who")
    serve(
        flow if sys.argv[3:] == ["flow"] else Faulty,
        at=sys.argv[1].split(","),
        workers=int(sys.argv[2]),
        devices=("cpu:0", "cpu:1"),
        certificate=os.environ.get("TEST_CERTIFICATE"),
        drain_delay=float(os.environ.get("TEST_DELAY", "0")),
    )
