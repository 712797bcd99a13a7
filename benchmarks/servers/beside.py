"""Nodes of a Flow: servers that a gateway starts beside itself, each in a process of its own, and waits for."""

import ctypes
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # linux/prctl.h
HERE = Path(__file__).parent
PATIENCE = 60.0  # seconds until a node listens
IDS = ("left", "right", "join")
"""The nodes: two that answer the document that came, side by side, and one that makes one document of both answers."""


def started(program: str) -> dict[str, int]:
    """Start a process of servers/{program}.py for each node; their ports. The processes end with this one, however it ends."""
    ports = {}
    for name in IDS:
        ports[name] = port = _free()
        command = [sys.executable, str(HERE / f"{program}.py"), str(port)]
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - no other thread runs yet
        )
    for port in ports.values():
        _wait_for(port)
    return ports


def _end_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
