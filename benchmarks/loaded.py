"""Servers of our own under the load of `xooai bench`, which counts from when a call is due and tells its own share."""

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SERVERS = Path(__file__).parent / "servers"
END_LIMIT = 20.0  # seconds for a server to end when it is asked


@contextlib.contextmanager
def serving(executor: str, url: str, *options: str) -> Iterator[str]:
    """Serve `module:Class` of servers/; gives the URL with its port."""
    command = [sys.executable, "-m", "xooai", "serve", executor, "--url", url, *options]
    with subprocess.Popen(command, cwd=SERVERS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            yield _banner(server)
        finally:
            server.terminate()
            try:
                server.communicate(timeout=END_LIMIT)
            except subprocess.TimeoutExpired:
                server.kill()


def _banner(server: "subprocess.Popen[str]") -> str:
    for line in server.stdout or ():
        if found := re.match(r"xooai serves at (\S+)$", line):
            return found[1]
    raise RuntimeError(f"{server.args!r} ended before it served")


def bench(url: str, *arguments: str) -> Any:
    """The report of a run of `xooai bench`."""
    ended = subprocess.run(
        [sys.executable, "-m", "xooai", "bench", url, *arguments, "--json"], stdout=subprocess.PIPE, check=False
    )
    if not ended.stdout:
        raise RuntimeError(f"no load on {url}: exit code {ended.returncode}")
    return json.loads(ended.stdout)
