"""xooai with a store that both sides reach: the content is read from there, whole and verified, by the handler."""

import os
import sys

from xooai import Executor, File, post
from xooai.plugins import open_store
from xooai.store import Store, StoreOptions


def opened(url: str) -> Store:
    """The store of both sides, at the endpoint that the environment names."""
    return open_store(url, StoreOptions(name="media", storage_options={"endpoint": os.environ["AWS_ENDPOINT_URL"]}))


class Payload(Executor):
    @post
    async def read(self, doc: File) -> int:
        """Answer how many bytes were read."""
        return len(await doc.aread())


if __name__ == "__main__":
    Payload(store=opened(sys.argv[2])).serve(f"http://127.0.0.1:{sys.argv[1]}")
