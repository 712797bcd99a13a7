"""Jina with the bytes in a document, hashed. With `client` it is the caller: paths come by lines, signatures go back."""

import hashlib
import sys
from pathlib import Path

from docarray import BaseDoc, DocList
from jina import Client, Deployment, Executor, requests


class Blob(BaseDoc):
    data: bytes


class Name(BaseDoc):
    text: str


class Payload(Executor):
    @requests
    def put(self, docs: DocList[Blob], **_: object) -> DocList[Name]:
        """Answer the signatures of the contents."""
        return DocList[Name]([Name(text=hashlib.sha256(doc.data).hexdigest()) for doc in docs])


def call(port: int) -> None:
    """Send the files that are named on standard input."""
    client = Client(port=port)
    for line in sys.stdin:
        docs = DocList[Blob]([Blob(data=Path(line.rstrip("\n")).read_bytes())])
        found = client.post("/", docs, return_type=DocList[Name])
        print(found[0].text, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "client":
        call(int(sys.argv[2]))
    else:
        with Deployment(uses=Payload, host="127.0.0.1", port=int(sys.argv[1]), protocol="grpc") as deployment:
            deployment.block()
