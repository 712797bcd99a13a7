"""`xooai post` reads arguments by the types of the endpoint, and shows the reply to people or to programs."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ANYWHERE, PATIENCE, PICTURE, Server, Xooai, spawned


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "hello.txt").write_text("hello\n")
    (tmp_path / "page.json").write_text(json.dumps({"scan": {"ref": str(PICTURE)}, "caption": {"value": "one\ntwo"}}))
    (tmp_path / "bad.json").write_text('{"scan": ')
    (tmp_path / "latin.txt").write_bytes(b"\xe9t\xe9")
    return tmp_path


def test_a_bare_string_stands_for_a_text(xooai: Xooai, kit: str) -> None:
    ended = xooai("post", f"{kit}/shout", "doc=to be = not to be", "mark=5")

    assert (ended.code, ended.out, ended.err) == (0, "TO BE = NOT TO BE5\n", "")


def test_a_text_that_looks_like_json_stays_as_it_is(xooai: Xooai, kit: str) -> None:
    assert xooai("post", f"{kit}/shout", 'doc={"value": "x"}', "mark=").out == '{"VALUE": "X"}\n'


def test_a_text_may_begin_with_an_at(xooai: Xooai, kit: str) -> None:
    assert xooai("post", f"{kit}/shout", "doc=@@home", "mark=@@").out == "@HOME@\n"


def test_a_file_is_a_document_of_the_kind_that_is_taken(xooai: Xooai, kit: str, files: Path) -> None:
    assert xooai("post", f"{kit}/shout", f"doc=@{files}/hello.txt").out == "HELLO\n!\n"
    assert xooai("post", f"{kit}/echo", f"doc=@{PICTURE}").out == "<Image image/jpeg 80,376 bytes>\n"


def test_a_string_from_a_file_is_without_its_last_newline(xooai: Xooai, kit: str, files: Path) -> None:
    assert xooai("post", f"{kit}/shout", "doc=x", f"mark=@{files}/hello.txt").out == "Xhello\n"


@pytest.mark.parametrize(
    ("endpoint", "content", "out"), [("shout", b"from a pipe", "FROM A PIPE!"), ("sizes", bytes(300), "[300, 1]")]
)
def test_standard_input_is_a_document(
    xooai: Xooai, kit: str, monkeypatch: pytest.MonkeyPatch, endpoint: str, content: bytes, out: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    assert xooai("post", f"{kit}/{endpoint}", "doc=@-" if endpoint == "shout" else "docs=@-").out == f"{out}\n"


def test_a_list_is_one_argument_for_each_item(xooai: Xooai, kit: str, files: Path) -> None:
    ended = xooai("post", f"{kit}/sizes", f"docs=@{files}/hello.txt", f"docs=@{PICTURE}", "more=7", "more=8")

    assert ended.out == "[6, 80376, 7, 8]\n"


def test_a_list_may_be_json(xooai: Xooai, kit: str, files: Path) -> None:
    refs = json.dumps([{"ref": str(files / "hello.txt")}, {"value": "QUJD"}])

    assert xooai("post", f"{kit}/sizes", f"docs={refs}", "more=[7, 8]").out == "[6, 3, 7, 8]\n"


def test_plain_parameters_are_read_by_their_types(xooai: Xooai, kit: str) -> None:
    arguments = ["when=2024-05-14", "colour=blue", "level=high", "flag=yes", "blob=QUJD", 'anything={"a": [1, "b"]}']

    reply = json.loads(xooai("post", f"{kit}/plain", *arguments, "--json").out)

    assert reply == {
        "when": "2024-05-14",
        "colour": "blue",
        "level": "high",
        "flag": True,
        "blob": 3,
        "anything": {"a": [1, "b"]},
    }


def test_bytes_come_from_a_file(xooai: Xooai, kit: str) -> None:
    ended = xooai("post", f"{kit}/plain", "when=2024-05-14", f"blob=@{PICTURE}", "anything=just words", "--json")

    assert json.loads(ended.out)["blob"] == PICTURE.stat().st_size
    assert json.loads(ended.out)["anything"] == "just words"


@pytest.mark.parametrize("is_file", [False, True])
def test_a_combo_is_json_whose_local_files_go_along(xooai: Xooai, kit: str, files: Path, is_file: bool) -> None:
    page = f"@{files}/page.json" if is_file else (files / "page.json").read_text()

    ended = xooai("post", f"{kit}/page", f"page={page}")

    assert ended.out == "scan: <Image image/jpeg 80,376 bytes>\ncaption:\n  one\n  two\n"


def test_a_tensor_is_numpys_file(xooai: Xooai, kit: str, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    numpy.save(tmp_path / "numbers.npy", numpy.arange(4, dtype="float32"))
    numpy.save(tmp_path / "objects.npy", numpy.array([object()]), allow_pickle=True)

    assert xooai("post", f"{kit}/total", f"numbers=@{tmp_path}/numbers.npy").out == "6.0\n"
    assert "no .npy file of numbers" in xooai("post", f"{kit}/total", f"numbers=@{tmp_path}/objects.npy").line


def test_of_several_kinds_the_extension_decides(xooai: Xooai, kit: str, files: Path) -> None:
    assert xooai("post", f"{kit}/either", f"doc=@{PICTURE}").out == "Image\n"
    assert xooai("post", f"{kit}/either", f"doc=@{PICTURE.parent}/sentence.wav").out == "Audio\n"
    assert xooai("post", f"{kit}/any_kind", f"doc=@{files}/hello.txt").out == "Text\n"
    assert "text/plain is Text" in xooai("post", f"{kit}/either", f"doc=@{files}/hello.txt").line


def test_the_executor_may_be_left_out_where_one_endpoint_is_meant(xooai: Xooai, kit: str) -> None:
    assert xooai("post", f"{kit.removesuffix('/kit')}/shout", "doc=a").out == "A!\n"


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_both_codecs_give_the_same(xooai: Xooai, kit: str, codec: str) -> None:
    assert xooai("post", f"{kit}/echo", f"doc=@{PICTURE}", "--codec", codec, "-o", "-", "--json").out.startswith(
        '{"kind":"image"'
    )


def test_the_content_of_a_document_is_written_to_a_file(xooai: Xooai, kit: str, tmp_path: Path) -> None:
    ended = xooai("post", f"{kit}/echo", f"doc=@{PICTURE}", "-o", tmp_path / "copy.jpg")

    assert (ended.code, ended.out) == (0, "")
    assert (tmp_path / "copy.jpg").read_bytes() == PICTURE.read_bytes()


def test_a_reply_that_is_no_document_is_written_as_json(xooai: Xooai, kit: str, tmp_path: Path) -> None:
    xooai("post", f"{kit}/sizes", f"docs=@{PICTURE}", "-o", tmp_path / "sizes.json")
    xooai("post", f"{kit}/blob", "size=5", "-o", tmp_path / "blob")

    assert json.loads((tmp_path / "sizes.json").read_bytes()) == [80376, 1]
    assert (tmp_path / "blob").read_bytes() == bytes(5)


def test_content_goes_to_stdout_as_it_is(kit: str, tmp_path: Path) -> None:
    arguments = ("post", f"{kit}/echo", f"doc=@{PICTURE}", "-o", "-")
    with (tmp_path / "copy").open("wb") as file, spawned(*arguments, stdout=file) as process:
        err = process.communicate(timeout=PATIENCE)[1]

    assert (process.returncode, err) == (0, "")
    assert (tmp_path / "copy").read_bytes() == PICTURE.read_bytes()


@pytest.mark.parametrize(
    ("path", "arguments", "text"),
    [
        ("shot", ["doc=a"], "no endpoint 'kit/shot'; did you mean 'kit/shout'?; there are: kit/shout, kit/echo"),
        ("", [], "has 13 endpoints; write one of them into the URL"),
        ("shout", [], "shout needs the parameter 'doc'; it takes: doc, mark='!'"),
        ("shout", ["dok=a"], "shout has no parameter 'dok'; did you mean 'doc'?"),
        ("shout", ["doc=a", "doc=b"], "doc is given 2 times, and takes one Text"),
        ("echo", ["doc=hello"], "doc takes Image: Input should be an object; write doc=@FILE"),
        ("echo", ["doc=@no.jpg"], "there is no file 'no.jpg'"),
        ("echo", ["doc=@."], "is a directory"),
        ("plain", ["when=soon"], "when takes date: Input should be a valid date"),
        ("plain", ["when=2024-05-14", "level=middle"], "level takes 'low' | 'high': Input should be 'low' or 'high'"),
        ("plain", ["when=2024-05-14", "blob=@no.bin"], "there is no file 'no.bin'"),
        ("page", ['page={"scan": 5}'], "page.scan: Input should be an object"),
        ("page", ['page={"scan": '], "page takes Page: Invalid JSON: EOF while parsing a value"),
        ("sizes", ["docs=@kit.py", "more=x"], "more takes int: Input should be a valid integer"),
        ("refuse", ["doc=a"], r"no \x1b[31msuch xooai: thing here"),
        ("fail", ["doc=a"], "the handler failed; the server's log tells more"),
    ],
)  # fmt: skip
def test_a_call_that_fails_is_one_line(xooai: Xooai, kit: str, path: str, arguments: list[str], text: str) -> None:
    ended = xooai("post", f"{kit.removesuffix('' if path else '/kit')}/{path}", *arguments)

    assert (ended.code, ended.out) == (1, "")
    assert text in ended.line


def test_no_time_at_all_is_one_line(xooai: Xooai, kit: str) -> None:
    assert "the time allowed (1e-09 s) has passed" in xooai("post", f"{kit}/mixed", "--timeout", "1e-9").line


def test_a_call_that_takes_too_long_is_one_line(xooai: Xooai, kit: str) -> None:
    ended = xooai("post", f"{kit}/wait", f"seconds={PATIENCE}", "--timeout", "3")

    assert ended.code == 1
    assert re.search(r"(time|within).* [123](\.\d+)? s|\([123](\.\d+)? s\) has passed", ended.line)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["doc"], "'doc' is no argument; write name=value, or name=@FILE"),
        (["doc=a", "--timeout", "0"], "--timeout"),
        (["doc=a", "--codec", "xml"], "--codec"),
        (["doc=a", "--metadata", "key"], "'key' is no pair; write key=value"),
        (["doc=a", "-o", "/no/such/directory/file"], "there is no directory '/no/such/directory'"),
        (["doc=a", "--trust", "/no/such/file"], "/no/such/file"),
    ],
)
def test_what_is_typed_wrongly_is_refused_before_a_call(xooai: Xooai, arguments: list[str], text: str) -> None:
    ended = xooai("post", "http://127.0.0.1:1/kit/shout", *arguments)

    assert ended.code == 2
    assert text in ended.line


def test_a_file_in_another_encoding_is_refused(xooai: Xooai, kit: str, files: Path) -> None:
    assert "is not UTF-8" in xooai("post", f"{kit}/shout", "doc=x", f"mark=@{files}/latin.txt").line


def test_a_server_that_is_not_there_is_one_line(xooai: Xooai) -> None:
    ended = xooai("post", "http://127.0.0.1:1/kit/shout", "doc=a")

    assert ended.code == 1
    assert "cannot connect to 127.0.0.1:1" in ended.line


def test_secrets_in_a_url_are_not_repeated(xooai: Xooai) -> None:
    ended = xooai("post", "http://me:secret@127.0.0.1:1/kit/shout?token=hidden", "doc=a")

    assert ended.code == 1
    assert [word for word in ("secret", "hidden") if word in ended.err] == []


def test_a_file_beyond_the_limit_of_a_message_is_sent_beside_it(xooai: Xooai, kit: str, tmp_path: Path) -> None:
    with (tmp_path / "vast.bin").open("wb") as file:
        file.truncate(65 * 1024 * 1024)

    ended = xooai("post", f"{kit}/sizes", f"docs=@{tmp_path}/vast.bin", "--json")

    assert json.loads(ended.out)[0] == 65 * 1024 * 1024


def test_standard_input_beyond_the_limit_is_refused(xooai: Xooai, kit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(65 * 1024 * 1024))))

    assert "standard input has more, the limit is 67,108,864 bytes" in xooai("post", f"{kit}/sizes", "docs=@-").line


def test_a_reply_of_many_kinds_is_an_outline(xooai: Xooai, kit: str) -> None:
    picture = "<Image image/png at https://***@host/a.png?***>"

    assert xooai("post", f"{kit}/mixed").out.splitlines() == [
        "tensor: <Tensor float32[2] 8 bytes>",
        f"picture: {picture}",
        "blob:",
        f"  scan: {picture}",
        "  caption: null",
        "empty: []",
        "no_fields: {}",
        "nothing: null",
        "box: [[1, 2], [3, 4.5]]",
        "is_sure: true",
    ]


def test_metadata_may_come_from_a_file(xooai: Xooai, kit: str, files: Path) -> None:
    ended = xooai("post", f"{kit}/shout", "doc=a", "-m", "team=one", "-m", f"authorization=@{files}/hello.txt")

    assert ended.out == "A!\n"


def test_an_interrupted_call_ends_without_a_word(serve: Callable[..., Server]) -> None:
    server = serve("kit:Kit", "--url", ANYWHERE)
    with spawned("post", f"{server.url}/kit/wait", f"seconds={PATIENCE}", "--timeout", PATIENCE) as process:
        assert server.process.stdout is not None
        next(line for line in server.process.stdout if line == "waiting\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out, err.strip()) == (130, "", "")
