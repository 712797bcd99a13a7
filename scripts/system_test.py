"""Set up what the tests marked `system` need, packages of Debian's and npm's among it, then run them. Arguments go to pytest.

    python3 scripts/system_test.py

Packages are installed only where a command is missing, which takes root.
"""

import os
import shutil
import subprocess
import sys

from environment import ROOT, fail, prepare, run, suite

COMMANDS = {
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "curl": "curl",
    "faketime": "faketime",
    "gtlsclient": "ngtcp2-client",
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "prometheus": "prometheus",
    "prlimit": "util-linux",
    "promtool": "prometheus",
    "setpriv": "util-linux",
    "strace": "strace",
    "systemd-analyze": "systemd",
    "systemd-socket-activate": "systemd",
    "unshare": "util-linux",
}
"""What the tests call, and the package that brings it."""

MODULES = ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1", "azurite@3.35.0")  # later Azurites want a later Node
"""What a client in JavaScript needs, and a server of Azure's protocol, into `.cache/node`."""


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


def install_modules() -> None:
    folder = ROOT / ".cache" / "node"
    stamp = folder / "modules.txt"
    wanted = " ".join(MODULES)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    quiet = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    folder.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["npm", "install", "--prefix", str(folder), *quiet, *MODULES], check=False).returncode != 0:
        fail(f"npm could not install {wanted}")
    stamp.write_text(wanted)


install()
install_modules()
os.chdir(ROOT)
if len(sys.argv) > 1:
    run("test", "-m", "pytest", "-m", "system", *sys.argv[1:])
raise SystemExit(suite(prepare("test"), "-m", "system"))
