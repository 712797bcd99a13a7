"""Write the software bill of materials of a release: what `pip install 'xooai[all]'` brings, as CycloneDX JSON.

    .venv/bin/python scripts/bill.py [FOLDER]

It lists the packages of `scripts/locks/all.txt` with their versions and the hashes of their files, for every platform;
the same lock gives the same bytes. The folder is `dist`, unless another is named.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

from environment import ROOT, fail

SPECIFICATION = "1.6"  # ECMA-424, which the scanners in use read

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist")
version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
bill = folder / f"xooai-{version}.cdx.json"

folder.mkdir(parents=True, exist_ok=True)
command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(ROOT / "scripts" / "locks" / "all.txt")]
subject = ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library"]
form = ["--spec-version", SPECIFICATION, "--output-format", "JSON", "--output-reproducible", "--validate"]
ended = subprocess.run([*command, *subject, *form, "--output-file", str(bill)], stderr=subprocess.PIPE, check=False)
if ended.returncode != 0:
    sys.stderr.buffer.write(ended.stderr)
    fail(f"no bill of materials was written: exit code {ended.returncode} of cyclonedx-py")
print(bill)
