"""FastAPI with an UploadFile, which it spools, then hashed."""

import hashlib
import sys

import uvicorn
from fastapi import FastAPI, UploadFile

app = FastAPI()


@app.get("/ready")
def ready() -> str:
    return "ready"


@app.post("/")
def put(doc: UploadFile) -> str:
    """Answer the signature of the file."""
    return hashlib.file_digest(doc.file, "sha256").hexdigest()  # type: ignore[arg-type]


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off", access_log=False
    )
