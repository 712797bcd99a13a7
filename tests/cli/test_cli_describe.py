"""`xooai describe` shows what a class or a server offers, and says in one line what it cannot show."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from command_line import HERE, PATIENCE, Xooai, spawned


def rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines() if line.strip()]


def test_a_class_is_described_without_making_one(xooai: Xooai) -> None:
    ended = xooai("describe", "kit:Broken")  # its constructor raises

    assert ended.code == 0


def test_the_table_has_types_defaults_and_replies(xooai: Xooai) -> None:
    table = rows(xooai("describe", "kit:Kit").out)

    assert ["kit/shout", "doc", "Text", "Text"] in table
    assert ["mark", "str", '"!"'] in table
    assert ["colour", "'red'", "|", "'blue'", '"red"'] in table
    assert ["flag", "bool", "|", "None", "null"] in table
    assert ["kit/page", "page", "Page", "Page"] in table
    assert "Page: scan: Image, caption: Text | None".split() in table
    assert "kit/shout: Say it louder.".split() in table


def test_a_server_is_described_as_its_class_is(xooai: Xooai, kit: str) -> None:
    here, there = rows(xooai("describe", "kit:Kit").out), rows(xooai("describe", kit).out)

    assert ["kit/shout", "doc", "Text", "Text"] in there
    assert [row[:2] for row in there] == [row[:2] for row in here]


def test_an_endpoint_of_a_server_is_described_alone(xooai: Xooai, kit: str) -> None:
    table = rows(xooai("describe", f"{kit}/total").out)

    assert [row for row in table if row[0].startswith("kit/")] == [["kit/total", "numbers", "Tensor", "float"]]


def test_an_endpoint_that_is_not_there_names_the_nearest(xooai: Xooai, kit: str) -> None:
    ended = xooai("describe", f"{kit}/shot")

    assert ended.code == 1
    assert "did you mean 'kit/shout'?" in ended.line


@pytest.mark.parametrize("is_remote", [False, True])
def test_json_on_stdout_is_json_alone(xooai: Xooai, kit: str, is_remote: bool) -> None:
    ended = xooai("describe", kit if is_remote else "kit:Kit", "--json")

    described = json.loads(ended.out)
    assert described["executors"]["kit"]["shout"]["body"]["properties"]["mark"]["default"] == "!"


@pytest.mark.parametrize("is_remote", [False, True])
def test_openapi_is_the_document_that_browsers_get(xooai: Xooai, kit: str, is_remote: bool) -> None:
    document = json.loads(xooai("describe", kit if is_remote else "kit:Kit", "--openapi").out)

    assert document["openapi"].startswith("3.1")
    assert "/kit/shout" in document["paths"]


def test_openapi_follows_no_redirect(xooai: Xooai) -> None:
    """What was sent for one server, such as a token, goes to no other."""
    seen: list[str | None] = []

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["token"])
            self.send_response(302)
            self.send_header("location", f"http://localhost:{server.server_port}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing on stderr."""

    with HTTPServer(("127.0.0.1", 0), Redirecting) as server:
        threading.Thread(target=server.serve_forever).start()
        ended = xooai("describe", f"http://127.0.0.1:{server.server_port}", "--openapi", "-m", "token=secret")
        server.shutdown()

    assert ended.code == 1
    assert "/openapi.json cannot be read: HTTP 302" in ended.line
    assert seen == ["secret"]


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("grpc://127.0.0.1:1", "OpenAPI describes HTTP, and grpc://127.0.0.1:1 is not; --json describes every server"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1/openapi.json cannot be read: "),
    ],
)
def test_a_server_without_openapi_is_one_line(xooai: Xooai, url: str, text: str) -> None:
    ended = xooai("describe", url, "--openapi")

    assert ended.code == 1
    assert text in ended.line


def test_two_forms_at_once_are_refused(xooai: Xooai) -> None:
    ended = xooai("describe", "kit:Kit", "--json", "--openapi")

    assert ended.code == 2
    assert "take one" in ended.line


def test_a_table_is_not_cut_to_the_width_of_a_pipe() -> None:
    with spawned("describe", "kit:Kit", env={"COLUMNS": "20"}) as process:
        out, _ = process.communicate(timeout=PATIENCE)

    assert ["kit/any_kind", "doc", "Doc", "str"] in rows(out)


def test_a_file_is_named_by_its_path(xooai: Xooai) -> None:
    assert ["kit/shout", "doc", "Text", "Text"] in rows(xooai("describe", f"{HERE / 'kit.py'}:Kit").out)


def test_a_module_in_the_current_directory_comes_first() -> None:
    with spawned("describe", "kit:Kit") as process:
        out, _ = process.communicate(timeout=PATIENCE)

    assert "kit/shout" in out


@pytest.mark.parametrize(
    ("target", "code", "text"),
    [
        ("broken_import:Thing", 1, "cannot import 'broken_import': ModuleNotFoundError: No module named 'a_module_"),
        ("broken_import:Thing", 1, "(broken_import.py, line 5)"),
        ("broken_import.py:Thing", 1, "cannot import 'broken_import.py': ModuleNotFoundError: No "),
        ("kti:Kit", 1, "no module 'kti' in the current directory or among the installed packages; did you mean 'kit'?"),
        ("kit:Kitt", 1, "'kit' has no 'Kitt'; did you mean 'Kit'?; executors in it: kit:Kit, kit:Settings,"),
        ("kit:an_instance", 1, "an instance of Kit, not a subclass of xooai.Executor"),
        ("kit:Page", 1, "'kit:Page' is a class, not a subclass of xooai.Executor"),
        ("kit", 2, "'kit' names no class; write module:Class, here one of: kit:Kit,"),
        ("kti.py:Kit", 1, "there is no file 'kti.py'; did you mean 'kit.py'?"),
        ("not a module:Kit", 2, "is not the name of a module; write module:Class or path/to/file.py:Class"),
        ("http://127.0.0.1:1", 1, "cannot connect to 127.0.0.1:1"),
        ("http://", 1, "is not a URL"),
        ("gopher://127.0.0.1:1", 1, "nothing serves gopher://"),
    ],
)  # fmt: skip
def test_what_cannot_be_described_is_one_line(xooai: Xooai, target: str, code: int, text: str) -> None:
    ended = xooai("describe", target)

    assert (ended.code, ended.out) == (code, "")
    assert text in ended.err.replace("this is printed while the module is imported\n", "")
    assert ended.err.count("xooai: ") == 1
