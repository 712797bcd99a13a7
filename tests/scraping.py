"""What a server tells of itself over HTTP, for tests that ask."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

__all__ = ["get", "report", "sample", "text"]

OPENMETRICS = (
    "application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"  # as Prometheus asks
)


def get(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what is at a path."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def text(url: str, **headers: str) -> str:
    status, _, body = get(url, "/metrics", **headers)
    assert status == 200, body
    return body.decode()


def report(url: str) -> Any:
    status, _, body = get(url, "/status.json")
    assert status == 200, body
    return json.loads(body)


def sample(url: str, name: str, **labels: str) -> float:
    """The sum of the samples with this name and at least these labels; 0 where there is none."""
    found = 0.0
    for line in text(url).splitlines():
        metric, _, value = line.rpartition(" ")
        if metric.partition("{")[0] == name and all(f'{key}="{one}"' in metric for key, one in labels.items()):
            found += float(value)
    return found
