"""`xooai serve` makes executors from its options, serves them, and ends cleanly however it ends."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ANYWHERE, HERE, PATIENCE, Ended, Server, Xooai, spawned

Serve = Callable[..., Server]


def test_the_banner_tells_the_urls(serve: Serve, xooai: Xooai) -> None:
    server = serve("kit:Other", "--size", "4", "--url", ANYWHERE)

    assert server.process.stdout is not None
    lines = [server.process.stdout.readline().strip() for _ in range(2)]
    assert lines == [f"{server.url}/other/tell", f"{server.url}/docs"]
    assert xooai("post", f"{server.url}/other/tell").out == "4\n"


def test_a_server_answers_to_the_names_that_it_is_given(serve: Serve) -> None:
    server = serve("kit:Other", "--size", "4", "--url", ANYWHERE, "--host", "models.example", "--host", "other.example")

    def asked_for(name: str) -> int:
        connection = http.client.HTTPConnection(server.url.split("/")[2], timeout=10)
        try:
            connection.request("GET", "/livez", headers={"Host": name})
            return connection.getresponse().status
        finally:
            connection.close()

    assert [asked_for(name) for name in ("models.example", "other.example", "evil.example")] == [200, 200, 403]


def test_options_are_the_parameters_of_the_constructor(serve: Serve, xooai: Xooai, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    options = [
        "--language",
        "de",
        "--half",
        "--labels",
        '["a", "b"]',
        "--token",
        f"@{tmp_path}/token",
        "--settings.url",
        "u",
        "--name",
        "mine",
    ]

    server = serve("kit:Settings", "--url", ANYWHERE, *options, "--anything", "[1, 2]")

    made = json.loads(xooai("post", f"{server.url}/mine/tell", "--json").out)
    assert made == {
        "language": "de",
        "size": 3,
        "half": True,
        "labels": ["a", "b"],
        "token": "s3cret",
        "url": "u",
        "anything": [1, 2],
        "later": "None",
        "clock": "time",
        "name": "mine",
    }


def test_several_executors_have_options_of_their_own(serve: Serve, xooai: Xooai) -> None:
    server = serve(
        "kit:Settings", f"{HERE}/kit.py:Other", "--settings.size", "5", "--other.size", "6", "--url", ANYWHERE
    )

    assert json.loads(xooai("post", f"{server.url}/settings/tell", "--json").out)["size"] == 5
    assert xooai("post", f"{server.url}/other/tell").out == "6\n"


def test_a_name_that_means_two_endpoints_is_refused_with_both(serve: Serve, xooai: Xooai) -> None:
    server = serve("kit:Settings", "kit:Other", "--other.size", "6", "--url", ANYWHERE)

    ended = xooai("post", f"{server.url}/tell")

    assert ended.code == 1
    assert "'tell' names 2 endpoints of" in ended.line
    assert ended.line.endswith("write one of: settings/tell, other/tell")


def test_several_urls_are_served_at_once(serve: Serve, xooai: Xooai) -> None:
    process = spawned("serve", "kit:Other", "--size", "1", "--url", ANYWHERE, "--url", ANYWHERE)
    with process:
        assert process.stdout is not None
        urls = next(line for line in process.stdout if line.startswith("xooai serves at")).split()[3:]
        replies = [xooai("post", f"{url}/other/tell").out for url in urls]
        process.terminate()

    assert replies == ["1\n", "1\n"]


def test_help_lists_the_options_of_the_class(xooai: Xooai) -> None:
    lines = [line.split() for line in xooai("serve", "kit:Settings", "--help").out.splitlines()]

    assert ["Options", "of", "Settings:"] in lines
    assert ["--language", "str", "[default:", "'en']"] in lines
    assert ["--half", "/", "--no-half", "[default:", "False]"] in lines
    assert ["--settings.url", "str", "[default:", "'']"] in lines
    assert ["--token", "SecretStr", "[default:", "SecretStr('**********')]"] in lines


def test_help_of_several_classes_carries_their_names(xooai: Xooai) -> None:
    out = xooai("serve", "kit:Settings", "kit:Other", "--help").out

    assert [text for text in ("--settings.language str", "--other.size int", "[required]") if text not in out] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_closes_the_executor(serve: Serve, number: int) -> None:
    ended = serve("kit:Settings", "--url", ANYWHERE).ended(number)

    assert ended.code == 0
    assert ended.out.endswith("settings are closed\n")
    assert ended.err == "this is printed while the module is imported\n"


def lasting(*args: object) -> tuple[float, Ended]:
    """How long a command takes that ends by itself, and how it ends."""
    begin = time.perf_counter()
    with spawned(*args) as process:
        out, err = process.communicate(timeout=PATIENCE)
    return time.perf_counter() - begin, Ended(process.returncode, out, err)


def test_a_port_in_use_is_one_line_within_two_seconds_before_a_model_is_loaded() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for _ in range(3):
            took, ended = lasting("serve", "kit:Loading", "--url", url)
            # Seconds; where any command takes long, twice what one takes that only says what it lacks.
            if is_in_time := took < 2 or took < 2 * lasting("serve", "kit:Other")[0]:
                break

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[1:] == [
        f"xooai: cannot listen at {url}: the address is in use; take another port (0 means any free one)"
    ]
    assert is_in_time


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_model_is_loaded_ends_it_without_a_traceback(number: int, code: int) -> None:
    with spawned("serve", "kit:Loading", "--url", ANYWHERE) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line == "loading\n")
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out, err.strip()) == (code, "", "")


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        ((), 2, "Missing argument 'MODULE:CLASS|FILE.yaml...'"),
        (("kit:Broken",), 1, "Broken() failed: ValueError: the model is missing (kit.py, line "),
        (("kit:Other",), 2, "--size"),
        (("kit:Other", "--size", "many"), 2, "size takes int: Input should be a valid integer"),
        (("kit:Other", "--seize", "1"), 2, "--seize"),
        (("kit:Settings", "--language", "german"), 2, "language takes str: String should have at most 5 characters"),
        (("kit:Settings", "--labels", '["a", 1]'), 2, "labels.1: Input should be a valid string"),
        (("kit:Settings", "--token", "@no-such-file"), 2, "there is no file 'no-such-file'"),
        (("kit:Picky",), 1, "Picky() needs clock: module, which cannot be given as a text; serve it from Python"),
        (("kit:Kit", "kit:Kit"), 2, "two executors are called 'kit'"),
        (("kit:Kit", "--url", "here"), 1, "'here' is not a URL to listen at"),
        (("kit:Kit", "--url", "gopher://127.0.0.1:0"), 1, "nothing serves gopher://"),
        (("kit:Kit", "--url", "http://0.0.0.0:0"), 1, "--insecure"),
        (("kit:Kit", "--url", "https://127.0.0.1:0"), 1, "certificate"),
        (("kit:Kit", "--certificate", "kit.py", "--key", "kit.py", "--url", "https://127.0.0.1:0"), 1, "kit.py"),
        (("kit:Kit", "--certificate", "none.pem"), 2, "none.pem"),
        (("broken_import:Thing",), 1, "(broken_import.py, line 5)"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_one_line(xooai: Xooai, args: tuple[str, ...], code: int, text: str) -> None:
    ended = xooai("serve", *args)

    assert (ended.code, ended.out) == (code, "")
    assert text in ended.err
    assert ended.err.count("\n") - ended.err.count("this is printed") == 1


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("here", "is not a URL to listen at"),
        ("gopher://127.0.0.1:0", "nothing serves gopher://"),
        ("http://0.0.0.0:0", "--insecure"),
        ("https://127.0.0.1:0", "certificate"),
    ],
)
def test_a_wrong_url_is_told_before_a_model_is_loaded(xooai: Xooai, url: str, text: str) -> None:
    ended = xooai("serve", "kit:Loading", "--url", url)

    assert ended.code == 1
    assert text in ended.err
    assert "loading" not in ended.err


def test_a_setup_that_fails_is_one_line_and_closes_the_executor(xooai: Xooai) -> None:
    ended = xooai("serve", "kit:Unready", "--url", ANYWHERE)

    assert (ended.code, ended.out) == (1, "unready is closed\n")
    assert re.search(r"^xooai: ValueError: the model does not answer \(kit.py, line \d+\);", ended.err, re.MULTILINE)


def test_an_error_of_the_system_in_a_setup_says_where_it_was(xooai: Xooai) -> None:
    ended = xooai("serve", "kit:Full", "--url", ANYWHERE)

    assert ended.code == 1
    assert re.search(
        r"^xooai: OSError: \[Errno 28\] No space left on device \(kit.py, line \d+\);", ended.err, re.MULTILINE
    )


def test_a_failing_handler_is_logged_without_secrets_and_cannot_forge_a_line(serve: Serve, xooai: Xooai) -> None:
    server = serve("kit:Kit", "--url", ANYWHERE)
    xooai("post", f"{server.url}/kit/fail", "doc=one\n12:00:00 ERROR xooai: forged \x1b[31m")

    log = server.ended(signal.SIGTERM).err

    assert "RuntimeError: one" in log
    assert not [line for line in log.splitlines() if line.startswith("12:00:00")]
    assert not [secret for secret in ("me:pass", "sig=12", "open-sesame", "\x1b") if secret in log]


def test_the_log_may_be_one_json_object_a_line(serve: Serve, xooai: Xooai) -> None:
    server = serve("kit:Kit", "--url", ANYWHERE, "--log", "json")
    answer = xooai("post", f"{server.url}/kit/fail", "doc=one\ntwo")

    lines = server.ended(signal.SIGTERM).err.splitlines()[1:]

    (entry,) = [json.loads(line) for line in lines]
    assert (entry["level"], entry["logger"], entry["time"][-1]) == ("ERROR", "xooai", "Z")
    assert answer.line.partition("(id ")[2].rstrip(")") in entry["message"]
    assert "RuntimeError: one\ntwo at https://***@host/x?*** with Authorization: ***" in entry["traceback"]


@pytest.mark.parametrize("workers", [(), ("--workers", "1")], ids=["alone", "workers"])
def test_where_the_log_is_json_so_is_the_banner_and_each_other_line(workers: tuple[str, ...]) -> None:
    process = spawned("serve", "kit:Other", "--size", "4", "--url", ANYWHERE, "--log", "json", *workers)
    assert process.stdout is not None
    banner = json.loads(next(line for line in process.stdout if "serves at" in line))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE)

    assert banner["message"] == f"xooai serves at {banner['urls'][0]}"
    assert banner["endpoints"] == ["other/tell"]
    printed = "this is printed while the module is imported"  # by the module itself
    told = [json.loads(line)["message"] for line in err.splitlines() if line != printed]
    assert "serves" not in out
    assert bool(told) is bool(workers)


@pytest.fixture
def changing(tmp_path: Path) -> Path:
    pytest.importorskip("watchfiles", reason="no module 'watchfiles'; it comes with: pip install -e '.[http]'")
    write(tmp_path, "first")
    return tmp_path


def write(folder: Path, says: str) -> None:
    method = f"    @post\n    def says(self) -> str:\n        return {says!r}\n"
    (folder / "changing.py").write_text(f"from xooai import Executor, post\n\nclass Changing(Executor):\n{method}")


def test_reload_serves_what_a_file_says_now(changing: Path, serve: Serve, xooai: Xooai) -> None:
    server = serve("changing:Changing", "--url", ANYWHERE, "--reload", cwd=changing)
    before = xooai("post", f"{server.url}/changing/says").out
    write(changing, "second")
    after = xooai("post", f"{server.banner()}/changing/says").out

    ended = server.ended(signal.SIGTERM)

    assert (before, after) == ("first\n", "second\n")
    assert ended.code == 0
    assert "xooai starts again: changing.py changed" in ended.err


def test_reload_does_not_wait_for_connections_that_nobody_uses(changing: Path, serve: Serve, xooai: Xooai) -> None:
    began = time.monotonic()
    server = serve("changing:Changing", "--url", ANYWHERE, "--reload", cwd=changing)
    usual = time.monotonic() - began
    browser = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=PATIENCE)
    browser.request("GET", "/livez")
    assert browser.getresponse().read()
    began = time.monotonic()
    write(changing, "second")
    assert xooai("post", f"{server.banner()}/changing/says").out == "second\n"
    # It starts as it did at first, and has to end before; an idle connection would be kept for 5 seconds.
    assert time.monotonic() - began < usual + 4
    browser.close()


def test_reload_survives_a_mistake(changing: Path, serve: Serve, xooai: Xooai) -> None:
    server = serve("changing:Changing", "--url", ANYWHERE, "--reload", cwd=changing)
    assert server.process.stderr is not None
    (changing / "changing.py").write_text("class Changing(")
    told = next(line for line in server.process.stderr if "SyntaxError" in line)
    write(changing, "mended")

    assert re.match(r"xooai: cannot import 'changing': SyntaxError: .+ \(changing.py, line 1\)$", told)
    assert xooai("post", f"{server.banner()}/changing/says").out == "mended\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_reload_leaves_no_server_behind(changing: Path, serve: Serve, xooai: Xooai, number: int) -> None:
    server = serve("changing:Changing", "--url", ANYWHERE, "--reload", cwd=changing)

    ended = server.ended(number)

    assert ended.code == 0
    assert "cannot connect" in xooai("post", f"{server.url}/changing/says").line
