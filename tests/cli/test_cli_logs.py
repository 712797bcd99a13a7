"""What `xooai serve` writes into its log: a record for each call where that is asked for, under one id, whatever takes it."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError

import pytest
from command_line import ANYWHERE, Server

Serve = Callable[..., Server]
JSON = ("--log", "json", "--access-log")


def post(url: str, body: str = "{}", **headers: str) -> tuple[int, dict[str, str], Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body.encode(), {"content-type": "application/json", **named})
    try:
        response: Any = urllib.request.urlopen(request, timeout=30)
    except HTTPError as error:
        response = error
    with response:
        return response.status, dict(response.headers), json.load(response)


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_each_call_has_a_record_under_the_id_that_its_caller_knows(serve: Serve) -> None:
    server = serve("logging_kit:Logs", "--url", ANYWHERE, *JSON)
    parent = f"00-{'1' * 32}-{'2' * 16}-01"
    post(f"{server.url}/logs/say", x_request_id="mine", traceparent=parent)
    status, headers, problem = post(f"{server.url}/logs/fail")
    post(f"{server.url}/logs/nowhere%0Aforged%1b%5b31m%e2%80%a8{'x' * 300}")
    found = records(server.ended(signal.SIGTERM).err)

    assert status == 500
    own = [one for one in found if one["logger"] == "mine"]
    assert [(one["request_id"], one["trace_id"]) for one in own] == [("mine", "1" * 32)]
    calls = [one for one in found if one["logger"] == "xooai.calls"]
    assert [(one["endpoint"], one["code"]) for one in calls[:2]] == [("say", "OK"), ("fail", "INTERNAL")]
    assert calls[0]["request_id"] == "mine"
    assert calls[0]["executor"] == "logs"
    assert calls[0]["driver"] == "http"
    assert calls[0]["peer"].startswith("127.0.0.1:")
    assert calls[0]["ms"] > 0
    assert calls[0]["received"] == 2
    failed = [one for one in found if "traceback" in one]
    assert (
        [one["request_id"] for one in failed]
        == [problem["id"]]
        == [headers["x-request-id"]]
        == [calls[1]["request_id"]]
    )
    assert calls[2]["code"] == "NOT_FOUND"
    assert len(calls[2]["endpoint"]) < 250
    assert not set(calls[2]["endpoint"]) & set("\n\x1b\u2028")
    assert "open-sesame" not in json.dumps(found)


def test_without_being_asked_no_call_is_logged(serve: Serve) -> None:
    server = serve("logging_kit:Logs", "--url", ANYWHERE, "--log-level", "info")
    post(f"{server.url}/logs/say", x_request_id="mine")
    log = server.ended(signal.SIGTERM).err
    assert "xooai.calls" not in log
    assert "WARNING mine [mine]: from a handler" in log


@pytest.mark.parametrize("taker", ["full", *(pytest.param(one, marks=pytest.mark.slow) for one in ("closed", "stuck"))])
def test_a_log_that_cannot_be_written_stops_nobody(serve: Serve, taker: str) -> None:
    reading, writing = os.pipe()
    with open(os.devnull if taker != "full" else "/dev/full", "w") as full:
        server = serve(
            "logging_kit:Logs", "--url", ANYWHERE, "--access-log", stderr=full if taker == "full" else writing
        )
    os.close(writing)
    if taker == "closed":
        os.close(reading)
    for number in range(300):  # more than a pipe holds
        assert post(f"{server.url}/logs/say", x_request_id=f"{number}{'x' * 120}")[0] == 200
    assert urllib.request.urlopen(f"{server.url}/readyz", timeout=30).status == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    if taker != "closed":
        os.close(reading)
