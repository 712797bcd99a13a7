"""Three nodes in BentoML, each a service of its own process, before a service that `depends` on them; one worker each."""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

import bentoml
from bentoml_again import again
from pydantic import BaseModel

QUIET = {"access": {"enabled": False}}


class Document(BaseModel):
    """Three plain fields."""

    text: str
    count: int
    score: float


class Echo:
    """Answers the document that came."""

    @bentoml.api
    async def combo(self, doc: Document) -> Document:
        return doc


@bentoml.service(workers=1, logging=QUIET)
class Left(Echo):
    """The one echo."""


@bentoml.service(workers=1, logging=QUIET)
class Right(Echo):
    """The other."""


@bentoml.service(workers=1, logging=QUIET)
class Join:
    """Makes one document of two."""

    @bentoml.api
    async def join(self, left: Document, right: Document) -> Document:
        return Document(text=left.text, count=left.count + right.count, score=right.score)


@bentoml.service(workers=1, logging=QUIET)
class Flow:
    """The gateway."""

    left = bentoml.depends(Left)
    right = bentoml.depends(Right)
    last = bentoml.depends(Join)

    @bentoml.api
    async def run(self, doc: Document) -> Document:
        first, second, last = self.left.to_async.combo, self.right.to_async.combo, self.last.to_async.join
        left, right = await asyncio.gather(again(partial(first, doc)), again(partial(second, doc)))
        joined: Document = await again(partial(last, left=left, right=right))
        return joined


if __name__ == "__main__":
    here = Path(__file__)
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    command = ["bentoml", "serve", f"{here.stem}:Flow", "--working-dir", str(here.parent), "--host", "127.0.0.1"]
    os.execv(sys.executable, [sys.executable, "-m", *command, "--port", sys.argv[1]])
