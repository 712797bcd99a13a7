"""Write `scripts/locks/` anew after a change of pyproject.toml; what fits stays as it was. Arguments go to uv.

python3 scripts/lock.py [--upgrade] [--upgrade-package NAME]
"""

import subprocess
import sys

from environment import ROOT, prepare

LOCKS = ROOT / "scripts" / "locks"
OPTIONS = ["--universal", "--generate-hashes", "--no-strip-extras", "--no-header", "--no-annotate", "--quiet"]
"""Extras stay, as in `coverage[toml]`: pip before 23.3 looks for the newest of those where only `coverage` is pinned, and then
has no hash of it."""
EDITABLE = "hatchling\neditables\n"
"""What an editable install builds with, where pip does not fetch it by itself."""


def write(purpose: str, extra: str, also: str, *options: str) -> None:
    """Write the lock of pyproject.toml with `extra` and `also`, for every platform and every Python that xooai runs on."""
    command = [str(prepare("test")), "-m", "uv", "pip", "compile", "pyproject.toml", "-", "--extra", extra, *OPTIONS]
    target = ["--output-file", str(LOCKS / f"{purpose}.txt")]
    subprocess.run([*command, *target, *options], cwd=ROOT, input=also, text=True, check=True)


same = ("--constraint", str(LOCKS / "test.txt"))
write("test", "dev", EDITABLE, *sys.argv[1:])
write("demo", "demo", EDITABLE, *same, *sys.argv[1:])
write("all", "all", "", *same, *sys.argv[1:])  # what a release's bill of materials lists
