"""The limit of batching: a bare ASGI application on uvicorn, and the shortest batcher that asyncio gives."""

import asyncio
import sys
from typing import Any

import batch_model
import uvicorn
from pydantic import BaseModel, TypeAdapter


class Arguments(BaseModel):
    """The body of a call."""

    x: int


validate, dump = TypeAdapter(Arguments).validate_json, TypeAdapter(int).dump_json
queue: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue()


async def batches() -> None:
    """Gather items until there are enough or the first has waited, then run them in a thread."""
    loop = asyncio.get_running_loop()
    while True:
        batch = [await queue.get()]
        until = loop.time() + batch_model.WAIT
        while len(batch) < batch_model.BATCH:
            try:
                batch.append(queue.get_nowait())
            except asyncio.QueueEmpty:
                left = until - loop.time()
                try:
                    batch.append(await asyncio.wait_for(queue.get(), max(left, 0)))
                except TimeoutError:
                    break
        replies = await loop.run_in_executor(None, batch_model.run, [item for item, _ in batch])
        for (_, waiting), reply in zip(batch, replies, strict=True):
            waiting.set_result(reply)


running: list[asyncio.Task[None]] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer one request."""
    if not running:
        running.append(asyncio.create_task(batches()))
    message = await receive()
    waiting: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    queue.put_nowait((validate(message["body"]).x, waiting))
    reply = dump(await waiting)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply})


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
