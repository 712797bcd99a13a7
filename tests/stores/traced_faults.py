"""As faults.py, but the kernel fails the calls: strace injects an error, or a signal, into the Nth of a kind
in the thread that does them.

python traced_faults.py ROOT (signal=KILL | error=ENOSPC | ...)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults import put, state

CALLS = ("openat", "close", "mkdir", "mkdirat", "write", "fsync", "linkat", "unlinkat", "newfstatat")
PATIENCE = 30  # seconds for strace to be there


def in_child(root: Path, call: str, number: int, how: str, log: Path) -> tuple[int, bool]:
    """How the put ended, and whether anything was injected."""
    child = os.fork()
    if child == 0:
        threads = ThreadPoolExecutor(1)  # which all that the store does to files runs in
        threads.submit(os.getpid).result()
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(put(root, threads))
    os.waitpid(child, os.WUNTRACED)
    (thread,) = set(os.listdir(f"/proc/{child}/task")) - {str(child)}
    inject = f"inject={call}:{how}:when={number}"
    command = ["strace", "-qq", "-o", str(log), "-e", f"trace={call}", "-e", inject, "-p", thread]
    with subprocess.Popen(command):
        deadline = time.monotonic() + PATIENCE
        while (
            "TracerPid:\t0\n" in Path(f"/proc/{child}/task/{thread}/status").read_text() and time.monotonic() < deadline
        ):
            time.sleep(0.002)
        os.kill(child, signal.SIGCONT)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, code < 0 or "INJECTED" in log.read_text()


def main() -> None:
    folder, how = Path(sys.argv[1]), sys.argv[2]
    assert put(folder / "warm") == 0  # what is imported on first use is there from here on
    ends = []
    for call in CALLS:
        for number in range(1, 100):
            root = folder / f"{call}-{number}"
            code, is_injected = in_child(root, call, number, how, folder / "log")
            if not is_injected:
                break
            found = {"code": code, "call": f"{call} {number}", **state(root)}
            child = os.fork()
            if child == 0:
                os._exit(put(root))
            found["again"], found["after"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), state(root)
            ends.append(found)
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
