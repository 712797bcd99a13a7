"""Three nodes in Ray Serve, each a deployment of one replica, before an ingress that calls them by their handles."""

import asyncio
import os
import sys
from typing import Annotated, Any, cast

import ray
from fastapi import Body, FastAPI
from pydantic import BaseModel
from ray import serve

app = FastAPI()


class Document(BaseModel):
    """Three plain fields."""

    text: str
    count: int
    score: float


@serve.deployment(max_ongoing_requests=100)
class Echo:
    """Answers the document that came."""

    async def combo(self, doc: Document) -> Document:
        return doc


@serve.deployment(max_ongoing_requests=100)
class Join:
    """Makes one document of two."""

    async def join(self, left: Document, right: Document) -> Document:
        return Document(text=left.text, count=left.count + right.count, score=right.score)


@serve.deployment(max_ongoing_requests=100)
@serve.ingress(app)
class Flow:
    """The gateway."""

    def __init__(self, left: Any, right: Any, last: Any) -> None:
        self.left, self.right, self.last = left, right, last

    @app.post("/run")
    async def run(self, doc: Annotated[Document, Body(embed=True)]) -> Document:
        left, right = await asyncio.gather(self.left.combo.remote(doc), self.right.combo.remote(doc))
        joined: Document = await self.last.join.remote(left, right)
        return joined


def main(port: int) -> None:
    """Serve for ever."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}  # the second: no file in the home
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)  # a replica asks for one
    serve.start(http_options={"host": "127.0.0.1", "port": port, "access_log": False})
    echo, join, gateway = (
        cast(Any, Echo),
        cast(Any, Join),
        cast(Any, Flow),
    )  # the decorators' types do not say what they make
    bound = gateway.bind(echo.options(name="left").bind(), echo.options(name="right").bind(), join.bind())
    serve.run(bound, logging_config={"enable_access_log": False}, blocking=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
