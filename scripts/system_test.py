"""Set up what the tests marked `system` need, Debian's packages among it, then run them. Arguments go to pytest.

    python3 scripts/system_test.py

Packages are installed only where a command is missing, which takes root.
"""

import os
import shutil
import subprocess
import sys

from environment import ROOT, fail, run

COMMANDS = {
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "curl": "curl",
    "ip": "iproute2",
    "openssl": "openssl",
    "unshare": "util-linux",
}
"""What the tests call, and the package that brings it."""


def install() -> None:
    missing = sorted({package for command, package in COMMANDS.items() if shutil.which(command) is None})
    if not missing:
        return
    line = f"apt-get install {' '.join(missing)}"
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        fail(f"packages are missing, and only root on Debian or Ubuntu can install them here: {line}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ("apt-get update -qq", f"apt-get install -y -qq --no-install-recommends {' '.join(missing)}"):
        if subprocess.run(command.split(), env=quiet, check=False).returncode != 0:
            fail(f"this failed, as said above: {command}")


install()
os.chdir(ROOT)
run("test", "-m", "pytest", "-m", "system", *sys.argv[1:])
