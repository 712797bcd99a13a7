"""What the fetcher reaches, and what not a packet goes to: in a network of its own, where every address leads to one server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from walled_scenes import SCENES

pytest.importorskip("h11")

HERE = Path(__file__).parent
WAYS = (["unshare", "--user", "--map-root-user", "--net", "--mount"], ["unshare", "--net", "--mount"])


def walled() -> list[str]:
    """The command that runs another one in namespaces of its own. Skips where there is none."""
    lacks = [command for command in ("unshare", "ip", "mount") if shutil.which(command) is None]
    if sys.platform != "linux" or lacks or not Path("/proc/net/if_inet6").exists():
        pytest.skip(
            f"needs Linux with IPv6 and the commands unshare, ip and mount{lacks and f': there is no {lacks[0]}'}"
        )
    for way in WAYS:
        if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
            return way
    pytest.skip("needs namespaces: those of users are off here, and this is not root")


@pytest.fixture(scope="module")
def told() -> dict[str, str | None]:
    """What the scenes say."""
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [*walled(), sys.executable, str(HERE / "walled_scenes.py")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, str | None] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("scene", SCENES)
def test_behind_walls(scene: str, told: dict[str, str | None]) -> None:
    assert told[scene] is None, told[scene]
