"""The echo in LitServe: one worker, the access log off, the rest as it comes."""

import sys

import litserve
from pydantic import BaseModel


class Document(BaseModel):
    """Three plain fields."""

    text: str
    count: int
    score: float


class Arguments(BaseModel):
    """The body of a call."""

    doc: Document


class Echo(litserve.LitAPI):
    """Answers the document that came."""

    def setup(self, device: str) -> None:
        """There is no model to load."""

    def decode_request(self, request: Arguments) -> Document:
        return request.doc

    def predict(self, x: Document) -> Document:
        return x

    def encode_response(self, output: Document) -> Document:
        return output


if __name__ == "__main__":
    litserve.LitServer(Echo(api_path="/combo"), accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, generate_client_file=False
    )
