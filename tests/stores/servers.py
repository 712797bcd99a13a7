"""Object stores for the tests, as processes of their own, on loopback: moto's and SeaweedFS's S3, and Azurite."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

__all__ = ["ACCESS", "AZURE_ACCOUNT", "AZURE_KEY", "SECRET", "azurite", "bucket", "client", "moto", "seaweed"]

ACCESS, SECRET = "some-access-key", "some-secret-key-that-nobody-may-see"
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Those of the emulator, the same for everybody, by its documentation."""
MODULES = Path(__file__).parents[2] / ".cache" / "node" / "node_modules"
"""Where scripts/system_test.py installs what comes from npm."""
PATIENCE = 60.0  # seconds for a server to answer


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at just now: these servers cannot tell which one they took."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


@contextmanager
def running(command: list[str], url: str, **more: str) -> Iterator[str]:
    """A server that answers at `url`, until the block ends."""
    env = {**os.environ, **more}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(url):
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{command[0]} does not answer"
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except HTTPError:
        return True
    except (URLError, OSError):
        return False


@contextmanager
def moto() -> Iterator[str]:
    """The URL of a server of moto."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, f"http://127.0.0.1:{port}") as url:
        yield url


@cache
def client(endpoint: str) -> Any:
    """A client of S3 that is not ours."""
    boto3 = import_module("boto3")
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET, region_name="us-east-1"
    )


def bucket(endpoint: str) -> str:
    """A new bucket."""
    name = (
        f"bucket{secrets.token_hex(8)}"  # no hyphen: the engine escapes it for GCS, and moto does not understand that
    )
    client(endpoint).create_bucket(Bucket=name)
    return name


@contextmanager
def seaweed(folder: Path) -> Iterator[str]:
    """The URL of a server of SeaweedFS, with its files in `folder`."""
    master, volume, filer, s3, *grpc = free_ports(8)
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert weed is not None
    command = [
        weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={config}",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}",
        f"-master.port.grpc={grpc[0]}", f"-volume.port.grpc={grpc[1]}", f"-filer.port.grpc={grpc[2]}",
        f"-s3.port.grpc={grpc[3]}", "-master.volumeSizeLimitMB=1024", "-volume.max=20", "-master.volumePreallocate=false",
    ]  # fmt: skip
    with running(command, f"http://127.0.0.1:{s3}") as url:
        yield url


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """The URL of a server of Azurite for its one account, with its files in `folder`."""
    (port,) = free_ports(1)
    program = MODULES / "azurite" / "dist" / "src" / "blob" / "main.js"
    command = ["node", str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    with running(
        [*command, "--disableTelemetry", "--skipApiVersionCheck", "--silent"], f"http://127.0.0.1:{port}"
    ) as url:
        yield f"{url}/{AZURE_ACCOUNT}"
