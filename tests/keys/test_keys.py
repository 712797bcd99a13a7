"""Who may call: with a file of keys nobody is answered without one, over every driver alike, and changes are heard of."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from authority import Authority
from everywhere import served
from grpc_poller import poller
from xooai import (
    Executor,
    File,
    Flow,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    current,
    post,
    stream,
)
from xooai.keys import Keyring

pytest.importorskip("click")

from click.testing import CliRunner

from xooai.cli.keys import command

__all__ = ["poller"]

PATIENCE = 20.0  # seconds
LARGE = 400 * 1024  # bytes: more than goes inline


class Guarded(Executor):
    """Tells who calls."""

    @post
    def who(self) -> str:
        return current().identity or "nobody"

    @post
    def metadata(self) -> dict[str, str]:
        return dict(current().metadata)

    @post
    def size(self, doc: File) -> int:
        return len(doc.read())

    @post
    def large(self) -> File:
        return File(ref=os.environ["GUARDED_FILE"])

    @stream
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)


class Remembering(Executor):
    @post(cache="10m")
    def who(self) -> str:
        return current().identity or "nobody"


Keys = Callable[..., str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def xooai(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "xooai", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.fixture
def made(file: Path) -> Keys:
    """Make a key by the command line; give what its holder sends."""

    def make(*arguments: str, tenant: str = "acme", scope: str = "*") -> str:
        given = ["new", "--file", str(file), "--tenant", tenant, "--scope", scope, *arguments]
        done = CliRunner().invoke(command, given)
        assert done.exit_code == 0, done.output
        return str(done.stdout).strip()

    return make


def id_of(key: str) -> str:
    return key.split("_")[1]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=["http", "grpc", "quic", "memory"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Serve = Callable[..., str]


@pytest.fixture
def serve(file: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Serve Guarded, which asks for the keys of the file."""
    guarded: list[Guarded] = []

    def start(scheme: str, **options: Any) -> str:
        monkeypatch.setenv("XOOAI_KEYS", str(file))
        guarded.append(Guarded(**options))
        return served(guarded[-1], scheme, request, monkeypatch)

    yield start
    for one in guarded:
        one.stop()


def client(url: str, key: str | None) -> Guarded:
    return Guarded.at(url, timeout=8, metadata={} if key is None else {"authorization": key})


# Who is answered


def test_who_has_a_key_is_answered_as_its_tenant(serve: Serve, made: Keys, scheme: str) -> None:
    ours, theirs = made(tenant="acme"), made(tenant="other")
    url = serve(scheme)

    assert client(url, ours).who() == "acme"
    assert client(url, theirs).who() == "other"
    assert list(client(url, ours).count(to=3)) == [0, 1, 2]


def test_a_node_of_a_served_flow_is_told_who_called_the_flow(
    made: Keys, file: Path, scheme: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("XOOAI_KEYS", str(file))
    ours, theirs = made(tenant="acme"), made(tenant="other")
    f = Flow(name="asking").add(Guarded(), on="who", id="now").add(Remembering(), on="who", id="kept")
    with f:
        url = served(f, scheme, request, monkeypatch)
        for key, tenant in ((ours, "acme"), (theirs, "other")):
            with Executor.at(f"{url}/asking", metadata={"authorization": key}) as asked:
                assert asked.post(on="call") == {"now": tenant, "kept": tenant}


def test_who_has_none_is_refused(serve: Serve, made: Keys, scheme: str) -> None:
    key = made()
    url = serve(scheme)
    wrong = key[:-3] + ("abc" if not key.endswith("abc") else "cba")

    for given in (None, wrong, "Bearer xo_", "Basic " + key.partition(" ")[2], key.replace(id_of(key), "0" * 16)):
        with pytest.raises(Unauthenticated):
            client(url, given).who()
        with pytest.raises(Unauthenticated):
            list(client(url, given).count(to=3))
        with pytest.raises(Unauthenticated):
            Executor(f"{url}/guarded").post(on="who")  # nor is it described
    assert client(url, key).who() == "acme"


def test_a_key_is_for_its_scopes(serve: Serve, made: Keys, scheme: str) -> None:
    one, all_of_it, other = made(scope="guarded/who"), made(scope="guarded/*"), made(scope="else/*")
    url = serve(scheme)

    assert client(url, one).who() == "acme"
    with pytest.raises(PermissionDenied):
        list(client(url, one).count(to=3))
    assert list(client(url, all_of_it).count(to=1)) == [0]
    with pytest.raises(PermissionDenied):
        client(url, other).who()


def test_a_handler_is_not_given_the_key(serve: Serve, made: Keys, scheme: str) -> None:
    key = made()

    assert key not in str(client(serve(scheme), key).metadata())


def test_calls_in_process_need_none(file: Path, made: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    made()
    monkeypatch.setenv("XOOAI_KEYS", str(file))
    with Guarded() as guarded:
        assert guarded.post(on="who") == "nobody"


def test_an_empty_file_lets_nobody_in(serve: Serve, made: Keys, file: Path) -> None:
    key = made()
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "keys": []}))
    url = serve("memory")

    for given in (None, key):
        with pytest.raises(Unauthenticated):
            client(url, given).who()


# What is no call


def test_pages_are_for_callers_and_health_for_all(serve: Serve, made: Keys) -> None:
    pytest.importorskip("uvicorn")
    key = made(scope="guarded/who")
    at = urlsplit(serve("http")).netloc

    def asked(path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(at, timeout=PATIENCE)
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        reply.read()
        connection.close()
        return reply

    for path in ("/docs", "/openapi.json", "/guarded/who", "/nothing", "/docs/swagger-ui.css"):
        assert asked(path).status == 401
        assert asked(path).headers["www-authenticate"] == "Bearer"
    assert asked("/guarded/who", "POST").status == 401
    assert asked("/guarded/who", "PUT").status == 401
    assert [asked(path, Authorization=key).status for path in ("/docs", "/openapi.json")] == [200, 200]
    assert [asked(path).status for path in ("/livez", "/readyz")] == [200, 200]


def test_grpc_describes_itself_to_callers(serve: Serve, made: Keys) -> None:
    grpc = pytest.importorskip("grpc")
    reflection = pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2")
    stubs = pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2_grpc")
    key = made()
    asked = reflection.ServerReflectionRequest(list_services="")
    with grpc.insecure_channel(urlsplit(serve("grpc")).netloc) as channel:
        stub = stubs.ServerReflectionStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            list(stub.ServerReflectionInfo(iter([asked]), timeout=PATIENCE))
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        (found,) = stub.ServerReflectionInfo(iter([asked]), timeout=PATIENCE, metadata=(("authorization", key),))
    assert "guarded" in str(found).lower()


# What changes


def eventually(happens: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def is_refused(caller: Guarded) -> bool:
    try:
        caller.who()
    except Unauthenticated:
        return True
    return False


def test_a_key_is_revoked_within_a_second(serve: Serve, made: Keys, file: Path) -> None:
    key, other = made(), made()
    url = serve("memory")
    assert client(url, key).who() == "acme"

    assert xooai("keys", "revoke", id_of(key), "--file", str(file)).returncode == 0

    assert eventually(lambda: is_refused(client(url, key)), 1)
    assert client(url, other).who() == "acme"


def test_a_new_key_is_known_and_an_old_one_goes_with_its_time(serve: Serve, made: Keys, file: Path) -> None:
    made()
    url = serve("memory")
    key = made("--expires", "2s")

    assert eventually(lambda: not is_refused(client(url, key)), 1)
    assert eventually(lambda: is_refused(client(url, key)), 3)


def test_a_key_is_replaced_with_a_time_for_both(serve: Serve, made: Keys, file: Path) -> None:
    key = made(scope="guarded/who")
    url = serve("memory")
    at_once = xooai("keys", "rotate", id_of(key), "--file", str(file), "--overlap", "1h").stdout.strip()

    assert eventually(lambda: not is_refused(client(url, at_once)), 1)
    assert client(url, key).who() == "acme"
    last = xooai("keys", "rotate", id_of(at_once), "--file", str(file)).stdout.strip()
    assert eventually(lambda: is_refused(client(url, at_once)), 1)
    assert client(url, last).who() == "acme"
    with pytest.raises(PermissionDenied):
        client(url, last).metadata()


def test_a_file_that_breaks_changes_nothing(
    serve: Serve, made: Keys, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = made()
    url = serve("memory")
    file.write_text("{")
    time.sleep(0.3)

    assert client(url, key).who() == "acme"
    assert "the keys stay as they are" in caplog.text
    file.unlink()
    time.sleep(0.3)
    assert client(url, key).who() == "acme"


# Whose contents


def large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A file that is too large to go inline."""
    content = os.urandom(LARGE)
    (folder / "large.bin").write_bytes(content)
    monkeypatch.setenv("GUARDED_FILE", str(folder / "large.bin"))
    return content


def test_what_one_tenant_has_sent_another_one_has_not(
    serve: Serve, made: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = made(tenant="acme"), made(tenant="other")
    url = serve("memory")
    large(tmp_path, monkeypatch)

    assert client(url, ours).size(doc=File(ref=str(tmp_path / "large.bin"))) == LARGE
    reply = client(url, ours).large()
    ref = reply.ref
    assert ref is not None
    bare = File(ref=ref.partition("?")[0], signature=reply.signature)
    assert client(url, ours).post(on="size", doc=bare) == LARGE
    with pytest.raises(NotFound):
        client(url, theirs).post(on="size", doc=bare)


def test_a_store_has_a_folder_for_each_tenant(
    serve: Serve, made: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = made(tenant="acme"), made(tenant="other")
    url = serve("memory", store=f"media={tmp_path / 'media'}")
    content = large(tmp_path, monkeypatch)

    reply = client(url, ours).large()
    assert reply.ref is not None
    assert reply.ref.startswith("store:media/")
    assert reply.read() == content
    (kept,) = [path for path in (tmp_path / "media").rglob("*") if path.is_file() and path.stat().st_size == LARGE]
    assert (tmp_path / "media" / "acme") in kept.parents
    bare = File(ref=reply.ref.partition("?")[0], signature=reply.signature)
    assert client(url, ours).size(doc=bare) == LARGE
    with pytest.raises(NotFound):
        client(url, theirs).size(doc=bare)


# The file


def test_the_file_holds_no_key_and_is_its_owners(made: Keys, file: Path) -> None:
    key = made()

    assert key.rpartition("_")[2] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    listed = xooai("keys", "list", "--file", str(file)).stdout
    assert id_of(key) in listed
    assert key.rpartition("_")[2] not in listed


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_a_file_that_others_may_write_is_not_read(made: Keys, file: Path) -> None:
    made()
    file.chmod(0o666)

    with pytest.raises(PermissionDenied, match="may be written by others"):
        Keyring(file)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"salt": "zz", "check": "", "keys": []}', '{"keys": [], "more": 1}']
)
def test_what_is_no_file_of_keys_is_told_when_a_server_starts(file: Path, content: str) -> None:
    file.write_text(content)
    file.chmod(0o600)

    with pytest.raises(InvalidArgument, match=r"keys\.json"):
        Keyring(file)
    done = xooai("serve", "json:JSONDecoder", "--keys", str(file))
    assert done.returncode != 0


def test_a_pepper_is_needed_where_one_was_used(made: Keys, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOOAI_KEYS_PEPPER", "a secret of the operator")
    key = made()
    assert Keyring(file).admit("/guarded/who", {"authorization": key}) == "acme"

    monkeypatch.setenv("XOOAI_KEYS_PEPPER", "another one, as long")
    with pytest.raises(InvalidArgument, match="XOOAI_KEYS_PEPPER"):
        Keyring(file)
    monkeypatch.setenv("XOOAI_KEYS_PEPPER", "short")
    with pytest.raises(InvalidArgument, match="5 characters"):
        Keyring(file)


def test_keys_made_at_once_are_all_kept(file: Path, made: Keys) -> None:
    line = [sys.executable, "-m", "xooai", "keys", "new", "--file", str(file), "--tenant", "a", "--scope", "*"]
    running = [subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [one.wait(PATIENCE) for one in running] == [0] * 4

    assert len(json.loads(file.read_text())["keys"]) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tenant", "a/b", "--scope", "*"], "--tenant 'a/b' is no name"),
        (["--tenant", "a", "--scope", "reader"], "--scope 'reader' is no scope"),
        (["--tenant", "a", "--scope", "*", "--expires", "soon"], "'soon' is no length of time"),
    ],
    ids=["tenant", "scope", "expires"],
)
def test_what_cannot_be_is_told(file: Path, arguments: list[str], said: str) -> None:
    done = xooai("keys", "new", "--file", str(file), *arguments)

    assert done.returncode != 0
    assert said in done.stderr
    assert not file.exists()


def test_certificates_are_let_in_by_name(file: Path) -> None:
    allowed = xooai(
        "keys",
        "allow",
        "spiffe://example.com/worker",
        "--file",
        str(file),
        "--tenant",
        "worker",
        "--scope",
        "guarded/*",
    )
    assert allowed.returncode == 0
    keyring = Keyring(file)

    assert keyring.admit("/guarded/who", {}, "spiffe://example.com/worker") == "worker"
    with pytest.raises(PermissionDenied):
        keyring.admit("/other/who", {}, "spiffe://example.com/worker")
    with pytest.raises(Unauthenticated):
        keyring.admit("/guarded/who", {}, "spiffe://example.com/other")


def test_with_keys_a_server_may_be_reached_by_others(file: Path, made: Keys) -> None:
    pytest.importorskip("uvicorn")
    made()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = file.with_name("guarded_app.py")
    source.write_text(
        "from xooai import Executor, post\n\n\nclass Guarded(Executor):\n    @post\n    def who(self) -> int:\n        return 1\n"
    )
    line = [sys.executable, "-m", "xooai", "serve", f"{source}:Guarded", "--url", f"http://127.0.0.2:{port}"]
    with subprocess.Popen([*line, "--keys", str(file)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert "xooai serves at" in server.stdout.readline()
        server.terminate()
