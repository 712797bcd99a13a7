"""BentoML with a Path, which it writes to a file, then hashed. Run by `bentoml serve` as its users do."""

import hashlib
import os
import sys
from pathlib import Path

import bentoml


@bentoml.service(workers=1, traffic={"timeout": 600}, logging={"access": {"enabled": False}})
class Payload:
    @bentoml.api
    def put(self, doc: Path) -> str:
        """Answer the signature of the file."""
        with doc.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    here = Path(__file__)
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    command = ["bentoml", "serve", f"{here.stem}:Payload", "--working-dir", str(here.parent), "--host", "127.0.0.1"]
    os.execv(sys.executable, [sys.executable, "-m", *command, "--port", sys.argv[1]])
