"""The model that takes batches in Mosec: one worker, the rest as it comes."""

import sys
from typing import Any

import batch_model
from mosec import Server, Worker


class Model(Worker):
    """Doubles numbers, many at a time."""

    def forward(self, data: list[dict[str, Any]]) -> list[int]:
        return list(batch_model.run([int(body["x"]) for body in data]))


if __name__ == "__main__":
    port = sys.argv[1]
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", port, "--log-level", "warning"]
    server = Server()
    server.append_worker(Model, max_batch_size=batch_model.BATCH, max_wait_time=int(batch_model.WAIT * 1000))
    server.run()
