"""The model that takes batches in Ray Serve: one replica, whose batches are made by its own decorator."""

import asyncio
import os
import sys
from typing import Annotated, Any, cast

import batch_model
import ray
from fastapi import Body, FastAPI
from ray import serve

app = FastAPI()


@serve.deployment(max_ongoing_requests=100)
@serve.ingress(app)
class Model:
    """Doubles numbers, many at a time."""

    @serve.batch(max_batch_size=batch_model.BATCH, batch_wait_timeout_s=batch_model.WAIT)
    async def batched(self, items: list[int]) -> list[int]:
        return list(await asyncio.to_thread(batch_model.run, items))

    @app.post("/run")
    async def run(self, x: Annotated[int, Body(embed=True)]) -> int:
        return int(await self.batched(x))


def main(port: int) -> None:
    """Serve for ever."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}  # the second: no file in the home
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)  # a replica asks for one
    serve.start(http_options={"host": "127.0.0.1", "port": port, "access_log": False})
    model = cast(Any, Model)  # the decorators' types do not say what they make
    serve.run(model.bind(), logging_config={"enable_access_log": False}, blocking=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
