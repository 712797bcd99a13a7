"""xooai with nothing configured: a large content comes by calls of its own, and is in the cache before the handler runs."""

import sys

from xooai import Executor, File, post
from xooai.signature import sign


class Payload(Executor):
    @post
    async def put(self, doc: File) -> str:
        """Answer the signature of the content, which was verified when it came; that of a small one, which is inline, is made."""
        return str(doc.signature) if doc.value is None else sign(doc.value)


if __name__ == "__main__":
    Payload().serve(f"{sys.argv[2]}://127.0.0.1:{sys.argv[1]}")
