"""Who is told what a server has counted: where there are keys, whoever has one that allows it; and what nobody else learns."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from grpc_poller import poller
from scraping import OPENMETRICS, get
from xooai import Executor, ResourceExhausted, post

pytest.importorskip("click", reason="it comes with: pip install -e '.[cli]'")
pytest.importorskip("uvicorn", reason="it comes with: pip install -e '.[http]'")
pytest.importorskip("prometheus_client", reason="it comes with: pip install -e '.[http]'")

from click.testing import CliRunner

from xooai.cli.keys import command

__all__ = ["poller"]

PATIENCE = 20.0  # seconds
SHOWN = ("/metrics", "/status", "/status.json", "/status/status.js")
Key = Callable[[str], str]


class Watched(Executor):
    @post
    def ping(self) -> str:
        return "pong"


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Key:
    """Make a key with a scope, which servers ask for from now on; give what its holder sends."""
    file = tmp_path / "keys.json"
    monkeypatch.setenv("XOOAI_KEYS", str(file))

    def make(scope: str) -> str:
        done = CliRunner().invoke(command, ["new", "--file", str(file), "--tenant", "acme", "--scope", scope])
        assert done.exit_code == 0, done.output
        return str(done.stdout).strip()

    return make


@pytest.fixture
def watched() -> Iterator[Watched]:
    with Watched() as executor:
        yield executor


@pytest.mark.parametrize("path", SHOWN)
def test_where_there_are_keys_only_one_that_allows_it_is_answered(key: Key, watched: Watched, path: str) -> None:
    all_of_it, its_own, another = key("*"), key("xooai/metrics"), key("watched/ping")
    url = watched.start("http://127.0.0.1:0")[0]

    assert get(url, path)[0] == 401
    assert get(url, path, authorization=another)[0] == 403
    assert get(url, path, authorization=its_own)[0] == 200
    assert get(url, path, authorization=all_of_it)[0] == 200
    assert get(url, "/watched/ping", "POST", authorization=its_own)[0] == 403


def test_the_endpoint_is_guarded_over_every_driver_by_the_same(key: Key, watched: Watched) -> None:
    grpc = pytest.importorskip("grpc", reason="it comes with: pip install -e '.[grpc]'")
    allowed, another = key("xooai/metrics"), key("watched/ping")
    http_url, grpc_url = watched.start("http://127.0.0.1:0", "grpc://127.0.0.1:0")

    def over_grpc(given: str) -> bytes:
        with grpc.insecure_channel(grpc_url.removeprefix("grpc://")) as channel:
            answer: bytes = channel.unary_unary("/xooai/metrics")(
                b"{}", metadata=(("authorization", given),), timeout=PATIENCE
            )
            return answer

    assert get(http_url, "/xooai/metrics", "POST", authorization=another)[0] == 403
    assert get(http_url, "/xooai/metrics", "POST", authorization=allowed)[0] == 200
    with pytest.raises(grpc.RpcError, match="PERMISSION_DENIED"):
        over_grpc(another)
    calls = json.loads(over_grpc(allowed))["calls"]
    refused = [one["codes"] for one in calls if (one["executor"], one["driver"]) == ("-", "grpc")]
    assert refused[0]["PERMISSION_DENIED"] >= 1


def test_refusals_by_the_limit_of_a_key_are_counted(key: Key, watched: Watched, tmp_path: Path) -> None:
    seen = key("xooai/metrics")
    made = ["new", "--file", str(tmp_path / "keys.json"), "--tenant", "busy", "--scope", "*", "--rate", "1/h"]
    done = CliRunner().invoke(command, made)
    assert done.exit_code == 0, done.output
    limited = str(done.stdout).strip()
    url = watched.start("http://127.0.0.1:0")[0]

    caller = Watched.at(url, metadata={"authorization": limited}, retry=0)

    def often() -> None:
        for _ in range(5):
            caller.ping()

    with pytest.raises(ResourceExhausted):
        often()
    told = get(url, "/metrics", authorization=seen)[2].decode()

    assert re.search(r'xooai_refusals_total\{[^}]*reason="key"[^}]*\} [1-9]', told)


def test_health_and_strangers_learn_no_version(key: Key, watched: Watched) -> None:
    allowed = key("xooai/metrics")
    url = watched.start("http://127.0.0.1:0")[0]
    own, python = version("xooai"), platform.python_version()

    for path in ("/livez", "/readyz", *SHOWN, "/docs"):
        _, headers, body = get(url, path)
        assert own not in body.decode()
        assert python not in f"{headers} {body.decode()}"
    told = get(url, "/metrics", authorization=allowed, accept=OPENMETRICS)[2].decode()
    assert f'xooai_build_info{{python="{python}",version="{own}"}} 1.0' in told


def test_without_keys_nobody_is_told_the_version(watched: Watched) -> None:
    url = watched.start("http://127.0.0.1:0")[0]

    assert "xooai_build" not in get(url, "/metrics")[2].decode()
    assert get(url, "/livez")[2] == b"live\n"
    assert get(url, "/readyz")[2] == b"ready\n"
