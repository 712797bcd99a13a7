"""What a service manager is told, and what a running server reads anew when it is told to: the signs that systemd knows."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from server_process import HERE, PATIENCE, Process, served, until

from authority import HERE as NAMES
from authority import Authority, Pair
from xooai import Executor

for module in ("uvicorn", "click", "grpc", "aioquic"):
    pytest.importorskip(module)

LIVELY = f"{HERE}/lively.py:Lively"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Receiver:
    """Stands where systemd does: takes datagrams at the address in NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(PATIENCE)

    def told(self, sign: str) -> dict[str, str]:
        """Wait for what tells of `sign`, past signs of life."""
        while True:
            said = dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())
            if sign in said:
                return said
            assert said == {"WATCHDOG": "1"}, said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", pytest.param("abstract", marks=pytest.mark.slow)])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    if request.param == "abstract" and not Path("/proc/net/unix").exists():
        pytest.skip("addresses that are no path are Linux's own")
    found = Receiver(f"{tmp_path}/notify" if request.param == "path" else f"@xooai-{tmp_path.name}-{id(tmp_path)}")
    yield found
    found.close()


def test_a_manager_is_told_when_it_is_ready_alive_reloaded_and_stopping(receiver: Receiver) -> None:
    env = {"NOTIFY_SOCKET": receiver.address, "WATCHDOG_USEC": "100000"}
    with served(LIVELY, "--url", "http://127.0.0.1:0", env=env) as process:
        (url,) = process.banner()
        assert receiver.told("READY") == {"READY": "1", "STATUS": f"serves at {url}"}
        assert receiver.told("WATCHDOG") == receiver.told("WATCHDOG") == {"WATCHDOG": "1"}
        process.signal(signal.SIGHUP)
        reloading = receiver.told("RELOADING")
        assert int(reloading.pop("MONOTONIC_USEC")) > 0
        assert (reloading, receiver.told("READY")) == ({"RELOADING": "1"}, {"READY": "1"})
        process.signal()
        assert receiver.told("STOPPING")["STOPPING"] == "1"
        ended = process.end()
    assert (ended.code, ended.err) == (0, "")


class Secure:
    """A server over TLS with each driver, whose files are replaced."""

    def __init__(self, process: Process, used: Path, authority: Authority) -> None:
        self.process, self.used, self.authority = process, used, authority

    def use(self, pair: Pair) -> None:
        shutil.copy(pair.both, self.used)

    def calls(self) -> list[int]:
        """A call over each driver, on a connection of its own."""
        found = []
        for url in self.process.urls:
            with Executor.at(f"{url}/lively", trust=str(self.authority.trust)) as client:
                found.append(client.post(on="under_way"))
        return found

    def shown(self, scheme: str) -> str:
        """The certificate that a new connection is shown."""
        place = urlsplit(next(url for url in self.process.urls if url.startswith(scheme)))
        return ssl.get_server_certificate((str(place.hostname), int(place.port or 0)), timeout=PATIENCE)


def test_on_a_sighup_files_that_fit_are_used_and_others_change_nothing(authority: Authority, tmp_path: Path) -> None:
    first, second = authority.signs("first", NAMES), authority.signs("second", NAMES)
    used = tmp_path / "used.pem"
    shutil.copy(first.both, used)
    urls = [part for scheme in ("https", "grpcs", "quic") for part in ("--url", f"{scheme}://127.0.0.1:0")]
    with served(LIVELY, *urls, "--certificate", used) as process:
        process.banner()
        server = Secure(process, used, authority)
        used.write_text("not a certificate")
        process.signal(signal.SIGHUP)
        told = [process.logged() for _ in process.urls]
        assert server.calls() == [0, 0, 0]
        server.use(second)
        process.signal(signal.SIGHUP)
        for scheme in ("https", "grpcs"):
            until(lambda: server.shown(scheme) == second.certificate.read_text(), "the new certificate")  # noqa: B023 - at once
        assert server.calls() == [0, 0, 0]
        process.signal()
        ended = process.end()

    assert [line.split()[3].partition(":")[0] for line in told] == ["https", "grpcs", "quic"]
    assert all("the renewed TLS files are not used, those before stay in use" in line for line in told)
    assert (ended.code, ended.err) == (0, "")


def test_neither_a_manager_that_is_not_there_nor_a_sighup_before_it_is_ready_ends_it(tmp_path: Path) -> None:
    env = {"NOTIFY_SOCKET": f"{tmp_path}/nobody", "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    with served(f"{HERE}/lively.py:Slow", "--url", "http://127.0.0.1:0", env=env) as process:
        assert next(iter(process.running.stdout or ())) == "setting up\n"
        process.signal(signal.SIGHUP)
        process.signal()
        ended = process.end()

    assert ended.code == 128 + signal.SIGTERM
    told, early = ended.err.splitlines()
    assert "WARNING xooai: the service manager cannot be told how this server is: NOTIFY_SOCKET" in told
    assert "SIGTERM came before the server was ready" in early
