"""The echo in BentoML: one worker, the access log off, the rest as it comes."""

import os
import sys
from pathlib import Path

import bentoml
from pydantic import BaseModel


class Document(BaseModel):
    """Three plain fields."""

    text: str
    count: int
    score: float


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Echo:
    """Answers the document that came."""

    @bentoml.api
    async def combo(self, doc: Document) -> Document:
        return doc


if __name__ == "__main__":
    here = Path(__file__)
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    command = ["bentoml", "serve", f"{here.stem}:Echo", "--working-dir", str(here.parent), "--host", "127.0.0.1"]
    os.execv(sys.executable, [sys.executable, "-m", *command, "--port", sys.argv[1]])
