"""Three nodes in Jina, each an Executor in a process of its own, in a Flow whose gateway speaks HTTP."""

import sys

from docarray import BaseDoc, DocList
from jina import Executor, Flow, requests


class Document(BaseDoc):
    """Three plain fields."""

    text: str
    count: int
    score: float


class Echo(Executor):
    """Answers the document that came."""

    @requests
    async def combo(self, docs: DocList[Document], **_: object) -> DocList[Document]:
        return docs


class Join(Executor):
    """Makes one document of two."""

    @requests
    async def join(
        self, docs: DocList[Document], docs_map: dict[str, DocList[Document]] | None = None, **_: object
    ) -> DocList[Document]:
        assert docs_map is not None
        pairs = zip(docs_map["left"], docs_map["right"], strict=True)
        return DocList[Document](
            Document(id=left.id, text=left.text, count=left.count + right.count, score=right.score)
            for left, right in pairs
        )


if __name__ == "__main__":
    f = Flow(protocol="http", host="127.0.0.1", port=int(sys.argv[1]))
    f = f.add(uses=Echo, name="left", needs="gateway").add(uses=Echo, name="right", needs="gateway")
    f = f.add(uses=Join, name="join", needs=["left", "right"], no_reduce=True)
    with f:
        f.block()
