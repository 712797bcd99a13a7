"""BentoML with a Path, which it writes to a file, then hashed. Run by `bentoml serve` as its users do."""

import hashlib
import os
import sys
from pathlib import Path

import bentoml


@bentoml.service(workers=1, traffic={"timeout": 600})
class Payload:
    @bentoml.api
    def put(self, doc: Path) -> str:
        """Answer the signature of the file."""
        with doc.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    python = Path(sys.executable)
    os.execv(python, [str(python), "-m", "bentoml", "serve", "payload_bentoml:Payload", "--port", sys.argv[1], "--host", "127.0.0.1"])
