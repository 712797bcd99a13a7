"""The model that takes batches in xooai."""

import asyncio
import sys

import batch_model

from xooai import Executor, post


class Model(Executor):
    """Doubles numbers, many at a time."""

    @post(batch_size=batch_model.BATCH, batch_wait=batch_model.WAIT)
    def run(self, x: list[int]) -> list[int]:
        """In a worker thread."""
        return list(batch_model.run(x))

    @post(batch_size=batch_model.BATCH, batch_wait=batch_model.WAIT)
    async def run_on_loop(self, x: list[int]) -> list[int]:
        """On the loop, as a client of an accelerator elsewhere."""
        await asyncio.sleep(batch_model.WHOLE + batch_model.EACH * len(x))
        return [2 * one for one in x]


if __name__ == "__main__":
    Model().serve(f"http://127.0.0.1:{sys.argv[1]}")
