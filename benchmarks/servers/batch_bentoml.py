"""The model that takes batches in BentoML: one worker, the access log off, the rest as it comes."""

import os
import sys
from functools import partial
from pathlib import Path

import batch_model
import bentoml
from bentoml_again import again


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, traffic={"max_concurrency": 1024})
class Model:
    """Doubles numbers, many at a time. Its batches must be lists at the client too, so a service before it takes one."""

    @bentoml.api(batchable=True, max_batch_size=batch_model.BATCH, max_latency_ms=60_000)
    def batch(self, xs: list[int]) -> list[int]:
        return list(batch_model.run(xs))


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, traffic={"max_concurrency": 1024})
class Front:
    """Takes one number, and gives one."""

    model = bentoml.depends(Model)

    @bentoml.api
    async def run(self, x: int) -> int:
        (found,) = await again(partial(self.model.to_async.batch, [x]))
        return int(found)


if __name__ == "__main__":
    here = Path(__file__)
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    command = ["bentoml", "serve", f"{here.stem}:Front", "--working-dir", str(here.parent), "--host", "127.0.0.1"]
    os.execv(sys.executable, [sys.executable, "-m", *command, "--port", sys.argv[1]])
