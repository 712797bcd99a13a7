"""What a service manager is told of a server that it has started, as sd_notify(3) has it: ready, reloading, alive, stopping."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from time import CLOCK_MONOTONIC, clock_gettime_ns

from xooai.log import logger

__all__ = ["SOCKET", "Manager"]

SOCKET = "NOTIFY_SOCKET"
"""The environment variable with the address of who wants to be told."""
_LOG = logger("xooai")
_PARTS = 2  # signs of life in the time after which this process is taken for dead, as sd_watchdog_enabled(3) has it


class Manager:
    """The service manager, such as systemd, whose socket is named by `NOTIFY_SOCKET`. Where it cannot be told, nothing ends."""

    def __init__(self) -> None:
        """To be made on the loop of the server: that it turns is what the manager is told by a sign of life."""
        self._loop = asyncio.get_running_loop()
        address = os.environ[SOCKET]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._socket.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError as error:
            _LOG.warning("the service manager cannot be told how this server is: %s: %s", SOCKET, error.strerror)

    def ready(self, urls: Sequence[str]) -> None:
        """Calls are answered; from now on the manager gets signs of life, where it wants any."""
        self._tell("READY=1", f"STATUS=serves at {' '.join(urls)}")
        every = _time_to_live() / _PARTS
        if every:
            self._live(every)

    def reloading(self) -> None:
        """Files are read anew; `ready` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}")

    def reloaded(self) -> None:
        self._tell("READY=1")

    def stopping(self) -> None:
        """No further calls are wanted; those under way are waited for."""
        self._tell("STOPPING=1", "STATUS=lets calls under way finish")

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()

    def _live(self, every: float) -> None:
        self._tell("WATCHDOG=1")
        self._timer = self._loop.call_later(every, self._live, every)

    def _tell(self, *states: str) -> None:
        with suppress(OSError):  # nobody is there, which was told, or it takes nothing now: never waited for
            self._socket.send("\n".join(states).encode())


def _time_to_live() -> float:
    """Seconds without a sign of life after which this process is taken for dead; 0 where none is asked for."""
    pid = os.environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):  # it was inherited
        return 0
    given = os.environ.get("WATCHDOG_USEC", "")
    return int(given) / 1e6 if given.isdecimal() else 0
