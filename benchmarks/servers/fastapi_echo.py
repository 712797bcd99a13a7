"""The echo in FastAPI, on the same uvicorn as the limit: an `async def` and a `def` endpoint."""

import sys
from typing import Annotated

import uvicorn
from fastapi import Body, FastAPI
from pydantic import BaseModel

app = FastAPI()


class Document(BaseModel):
    """Three plain fields."""

    text: str
    count: int
    score: float


@app.post("/combo")
async def combo(doc: Annotated[Document, Body(embed=True)]) -> Document:
    """Echo on the loop."""
    return doc


@app.post("/combo_in_thread")
def combo_in_thread(doc: Annotated[Document, Body(embed=True)]) -> Document:
    """Echo in a worker thread."""
    return doc


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
