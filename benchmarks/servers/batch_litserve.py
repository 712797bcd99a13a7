"""The model that takes batches in LitServe: one worker, the access log off, the rest as it comes."""

import sys

import batch_model
import litserve
from pydantic import BaseModel


class Arguments(BaseModel):
    """The body of a call."""

    x: int


class Model(litserve.LitAPI):
    """Doubles numbers, many at a time."""

    def setup(self, device: str) -> None:
        """There is no model to load."""

    def decode_request(self, request: Arguments) -> int:
        return request.x

    def batch(self, inputs: list[int]) -> list[int]:
        return inputs

    def predict(self, x: list[int] | int) -> list[int]:
        return list(batch_model.run([x] if isinstance(x, int) else x))

    def unbatch(self, output: list[int]) -> list[int]:
        return output

    def encode_response(self, output: int) -> int:
        return output


if __name__ == "__main__":
    api = Model(api_path="/run", max_batch_size=batch_model.BATCH, batch_timeout=batch_model.WAIT)
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, generate_client_file=False
    )
