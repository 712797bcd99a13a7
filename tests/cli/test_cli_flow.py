"""`xooai flow` checks, shows, explains, serves and runs Flows in YAML files; `xooai serve` takes executors from them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ANYWHERE, HERE, PATIENCE, PICTURE, Ended, Server, Xooai, serving, spawned

pytest.importorskip("yaml")

FLOW = """\
flow: loud
nodes:
  - {id: once, use: 'kit:Kit', on: shout}
  - {id: twice, use: 'kit:Kit', on: shout, needs: once, args: {mark: '?'}}
"""


def said(ended: Ended) -> str:
    """The last line of stderr; kit prints another one."""
    *others, last = ended.err.splitlines()
    assert [line for line in others if line != "this is printed while the module is imported"] == []
    assert last.startswith("xooai: ")
    return last


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    path = tmp_path / "flow.yaml"
    path.write_text(FLOW)
    return path


def test_a_flow_is_checked_shown_and_explained(xooai: Xooai, flow: Path) -> None:
    checked = xooai("flow", "check", flow, "--module", "kit")
    shown = xooai("flow", "show", flow, "-M", "kit")

    assert (checked.code, checked.out) == (0, f"{flow}: 2 nodes, and all fits\n")
    assert "|  once  | -> |  twice  |" in shown.out
    assert "flowchart LR" in xooai("flow", "show", flow, "-M", "kit", "--mermaid").out
    assert xooai("flow", "show", flow, "-M", "kit", "--svg").out.startswith("<svg")
    assert "twice: kit/shout in process\n    gets doc from once" in xooai("flow", "explain", flow, "-M", "kit").out


def test_a_check_asks_servers_and_tells_what_is_ignored(xooai: Xooai, kit: str, flow: Path) -> None:
    flow.write_text(
        f"nodes:\n  - {{id: a, use: '{kit}/shout'}}\n  - {{id: b, use: '{kit}/shout'}}\n"
        f"  - {{id: c, use: '{kit}/shout', needs: [a, b]}}\n"
    )
    assert "warning: b's result is ignored" in xooai("flow", "check", flow).out

    flow.write_text(f"nodes: [{{id: a, use: '{kit}/shout'}}, {{id: b, use: '{kit}/echo', needs: a}}]")
    assert "types do not fit: a: kit.shout -> Text, b: kit.echo(doc: Image)" in said(xooai("flow", "check", flow))


def test_modules_are_allowed_by_a_variable_or_as_files_too(
    xooai: Xooai, flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "'kit:Kit' is of the module 'kit', which is not among those allowed (none)" in said(
        xooai("flow", "show", flow)
    )
    assert xooai("flow", "show", flow, "--module", HERE / "kit.py").code == 0
    monkeypatch.setenv("XOOAI_MODULES", "json kit")
    assert xooai("flow", "show", flow).code == 0


def test_a_mistake_is_one_line_with_the_file_and_its_line(xooai: Xooai, flow: Path) -> None:
    flow.write_text(FLOW.replace("args", "arg"))
    ended = xooai("flow", "check", flow, "-M", "kit")

    assert (ended.code, ended.out) == (1, "")
    assert said(ended).startswith(f"xooai: {flow}, line 4: a node has no key 'arg'; did you mean 'args'?")
    assert "there is no file 'none.yaml'" in said(xooai("flow", "check", "none.yaml"))
    assert "No such command 'chekc'" in said(xooai("flow", "chekc"))
    assert "take one" in said(xooai("flow", "show", flow, "--svg", "--mermaid"))


def test_a_flow_runs_once(xooai: Xooai, flow: Path, tmp_path: Path) -> None:
    assert xooai("flow", "post", flow, "-M", "kit", "doc=hello").out == "HELLO!?\n"
    assert json.loads(xooai("flow", "post", flow, "-M", "kit", "doc=a", "mark=.", "--json").out)["value"] == "A.?"
    assert xooai("flow", "post", flow, "-M", "kit", "doc=a", "-o", tmp_path / "out").code == 0
    assert (tmp_path / "out").read_text() == "A!?"
    assert "did you mean 'doc'?" in said(xooai("flow", "post", flow, "-M", "kit", "docc=a"))


def test_a_flow_that_streams_shows_replies_as_they_come(xooai: Xooai, flow: Path, tmp_path: Path) -> None:
    (tmp_path / "spelling.py").write_text(
        "from collections.abc import AsyncIterator, Iterator\nfrom xooai import Executor, Text, stream\n\n"
        "class Spelling(Executor):\n"
        "    @stream\n    def spell(self, doc: Text) -> Iterator[str]:\n        yield from doc.read()\n"
        "    @stream\n    async def join(self, doc: AsyncIterator[str]) -> str:\n        return 'x'\n"
    )
    flow.write_text("nodes: [{use: 'spelling:Spelling', on: spell}]")
    command = ("flow", "post", flow, "-M", tmp_path / "spelling.py")

    assert xooai(*command, "doc=abc").out == "a\nb\nc\n"
    assert "flow streams, and --input is for Flows that" in said(xooai(*command, "--input", flow, "-o", tmp_path / "o"))
    flow.write_text(flow.read_text().replace("on: spell", "on: join"))
    assert "flow takes a stream as 'doc', and the command line sends one request" in said(xooai(*command, "doc=abc"))


def test_a_flow_is_served_until_a_signal_comes(flow: Path, xooai: Xooai) -> None:
    process = spawned("flow", "serve", flow, "--module", "kit", "--url", ANYWHERE)
    try:
        server = Server(process)

        assert xooai("post", f"{server.url}/loud/call", "doc=hello").out == "HELLO!?\n"
        assert server.ended(signal.SIGTERM).code == 0
    finally:
        process.kill()
        process.communicate()


def test_reload_serves_what_the_file_says_now(flow: Path, xooai: Xooai) -> None:
    pytest.importorskip("watchfiles")
    (flow.parent / "kit.py").symlink_to(HERE / "kit.py")
    process = spawned("flow", "serve", flow, "-M", "kit", "--url", ANYWHERE, "--reload", cwd=flow.parent)
    try:
        server = Server(process)
        before = xooai("post", f"{server.url}/loud/call", "doc=a").out
        flow.write_text(FLOW.replace("?", "."))

        assert (before, xooai("post", f"{server.banner()}/loud/call", "doc=a").out) == ("A!?\n", "A!.\n")
        assert "xooai starts again: flow.yaml changed" in server.ended(signal.SIGTERM).err
    finally:
        process.kill()
        process.communicate()


def test_an_executor_is_served_as_its_file_says(xooai: Xooai, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("use: kit:Settings\nwith: {language: de, size: 5}\nmetas: {name: told}\nrequests: {what: tell}\n")

    with serving(path, "--module", "kit", "--size", "7", "--url", ANYWHERE) as server:
        told = json.loads(xooai("post", f"{server.url}/told/what", "--json").out)

    assert (told["language"], told["size"], told["name"]) == ("de", 7, "told")
    assert "--size" in xooai("serve", path, "--module", "kit", "--help").out
    assert "this is a Flow" in said(xooai("serve", _written(tmp_path, FLOW), "--module", "kit"))
    assert "not among those allowed" in said(xooai("serve", path))


def _written(folder: Path, text: str) -> Path:
    (folder / "written.yaml").write_text(text)
    return folder / "written.yaml"


# Many lines


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Path]:
    """A file of these lines."""

    def lines(*lines: object, name: str = "docs.jsonl") -> Path:
        (tmp_path / name).write_text(
            "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
        )
        return tmp_path / name

    return lines


def results(path: Path) -> list[tuple[int, object]]:
    """The lines of an output: the number of each, and its text, or the code of its error."""
    told = [json.loads(line) for line in path.read_text().splitlines()]
    return [(one["line"], one["result"]["value"] if "result" in one else one["error"]["code"]) for one in told]


def test_each_line_of_the_input_gets_one_in_the_output(
    xooai: Xooai, flow: Path, lines: Callable[..., Path], tmp_path: Path
) -> None:
    source = lines({"doc": {"value": "a"}, "mark": "."}, "", {"value": "b"}, {"ref": str(tmp_path / "c.txt")})
    (tmp_path / "c.txt").write_text("c")
    out = tmp_path / "out.jsonl"

    ended = xooai("flow", "post", flow, "-M", "kit", "--input", source, "--output", out)

    assert (ended.code, ended.out, ended.err.splitlines()[1:]) == (0, "", [])
    assert results(out) == [(1, "A.?"), (3, "B!?"), (4, "C!?")]


def test_arguments_on_the_command_line_are_for_all_lines(
    xooai: Xooai, flow: Path, lines: Callable[..., Path], tmp_path: Path
) -> None:
    source, out = lines({"value": "a"}, {"doc": {"value": "b"}, "mark": "."}), tmp_path / "out.jsonl"

    assert xooai("flow", "post", flow, "-M", "kit", "mark=+", "--input", source, "-o", out).code == 0

    assert results(out) == [(1, "A+?"), (2, "B.?")]
    assert "or other arguments are given" in said(
        xooai("flow", "post", flow, "-M", "kit", "--input", source, "-o", out)
    )


def test_errors_are_lines_and_are_counted(xooai: Xooai, flow: Path, lines: Callable[..., Path], tmp_path: Path) -> None:
    flow.write_text(
        "nodes:\n- {id: a, use: 'kit:Kit', on: shout}\n"
        "- {id: b, use: 'kit:Kit', on: refuse, when: 'rules:is_b', needs: a}\n"
        "- {id: c, use: 'kit:Kit', on: shout, needs: [a, b], join: 'rules:first'}\n"
    )
    (tmp_path / "rules.py").write_text(
        "def is_b(a):\n    return a.read() == 'B!'\n\ndef first(a, b=None):\n    return a\n"
    )
    source, out = lines({"value": "a"}, "{bad", {"value": "b"}, {"doc": 3}, "[1]"), tmp_path / "out.jsonl"
    command = ("flow", "post", flow, "-M", "kit", "-M", tmp_path / "rules.py", "--input", source, "--output", out)

    ended = xooai(*command)

    assert (ended.code, said(ended)) == (1, "xooai: 5 lines done, 4 with errors")
    assert results(out) == [(1, "A!!"), *((number, "INVALID_ARGUMENT") for number in (2, 3, 4, 5))]
    assert json.loads(out.read_text().splitlines()[2])["error"]["details"]["node"] == "b"
    assert said(xooai(*command)) == "xooai: 5 lines done (5 of them before), 4 with errors"
    assert len(results(out)) == 5


def test_a_run_may_stop_at_an_error_and_begin_there_again(
    xooai: Xooai, flow: Path, lines: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    source = lines({"value": "a"}, {"value": 3}, {"value": "c"})
    command = ("flow", "post", flow, "-M", "kit", "--input", source, "--output", out, "--on-error", "stop")

    assert "line 2 of" in said(xooai(*command))
    assert results(out) == [(1, "A!?")]
    lines({"value": "a"}, {"value": "b"}, {"value": "c"})
    assert xooai(*command).code == 0
    assert results(out) == [(1, "A!?"), (2, "B!?"), (3, "C!?")]


WAITS = """\
import time
from pathlib import Path
from xooai import Text

def waits(doc: Text) -> Text:
    while doc.read() == 'a300' and not Path(__file__).with_name('go').exists():
        time.sleep(0.01)
    return Text(value=doc.read().upper())
"""


def test_a_run_that_was_killed_goes_on_where_its_output_ends(
    xooai: Xooai, flow: Path, lines: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    flow.write_text("nodes: [{use: 'waits:waits'}]")
    source, out = lines(*({"value": f"a{number}"} for number in range(600))), tmp_path / "out.jsonl"
    command = ("flow", "post", flow, "-M", tmp_path / "waits.py", "--input", source, "--output", out)
    process = spawned(*command)
    try:
        while process.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < 50):
            time.sleep(0.01)
        process.kill()
    finally:
        process.communicate(timeout=PATIENCE)
    before = out.read_bytes().count(b"\n")
    with out.open("ab") as file:
        file.write(b'{"line":9')  # as a line that was being written
    (tmp_path / "go").touch()

    ended = xooai(*command)

    assert (ended.code, 50 <= before <= 300) == (0, True)
    assert results(out) == [(number + 1, f"A{number}") for number in range(600)]


@pytest.mark.parametrize(
    ("was", "complaint"),
    [
        ('{"value": "x"}\n{"value": "b"}\n', "line 1 of out.jsonl is of another input: docs.jsonl has something else in line 1"),
        ("\n".join(['{"value": "a"}'] * 3), "line 2 of out.jsonl is of another input: docs.jsonl has something else in line 2"),
        ('{"value": "a"}\n', "line 2 of out.jsonl is of another input: docs.jsonl has no such line"),
    ],
    ids=["first", "second", "shorter"],
)  # fmt: skip
def test_an_input_that_has_changed_is_refused_and_the_output_kept(
    xooai: Xooai, flow: Path, lines: Callable[..., Path], tmp_path: Path, was: str, complaint: str
) -> None:
    source, out = lines({"value": "a"}, {"value": "b"}), tmp_path / "out.jsonl"
    command = ("flow", "post", flow, "-M", "kit", "--input", source, "--output", out)
    assert xooai(*command).code == 0
    before = out.read_bytes()

    source.write_text(was)
    ended = xooai(*command)

    assert ended.code == 1
    assert complaint in said(ended).replace(f"{tmp_path}/", "")
    assert out.read_bytes() == before


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", PICTURE.read_bytes(), b'{"line":1,"input":"x","more":1}\n'],
                         ids=["text", "line", "picture", "object"])  # fmt: skip
def test_a_file_of_something_else_is_not_written_to(
    xooai: Xooai, flow: Path, lines: Callable[..., Path], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "out").write_bytes(content)

    ended = xooai("flow", "post", flow, "-M", "kit", "--input", lines({"value": "a"}), "--output", tmp_path / "out")

    assert "is nothing that this command writes; name another --output" in said(ended)
    assert (tmp_path / "out").read_bytes() == content


@pytest.mark.parametrize(
    "content", [b'{"line":1,"form":2,"others":[]}\n', b'{"form":12,"at":"x"}\n{"line":'], ids=["line", "head"]
)
def test_an_output_of_a_later_form_is_refused_and_kept(
    xooai: Xooai, flow: Path, lines: Callable[..., Path], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "out").write_bytes(content)

    ended = xooai("flow", "post", flow, "-M", "kit", "--input", lines({"value": "a"}), "--output", tmp_path / "out")

    form = "12" if b"12" in content else "2"
    assert ended.code == 1
    assert f"a later version of xooai has written it, in form {form}; this one reads up to 1" in said(ended)
    assert (tmp_path / "out").read_bytes() == content


@pytest.mark.parametrize("form", ["1", "0", "-1", "true", '"2"', "2.5"])
def test_an_output_of_no_later_form_is_read_as_ever(
    xooai: Xooai, flow: Path, lines: Callable[..., Path], tmp_path: Path, form: str
) -> None:
    source, out = lines({"value": "a"}, {"value": "b"}), tmp_path / "out"
    command = ("flow", "post", flow, "-M", "kit", "--input", source, "--output", out)
    assert xooai(*command).code == 0
    first, *rest = out.read_text().splitlines(keepends=True)
    out.write_text("".join([first.replace("{", f'{{"form":{form},', 1), *rest]))

    ended = xooai(*command)

    if form == "1":
        assert ended.code == 0
    else:
        assert "is nothing that this command writes; name another --output" in said(ended)


def test_two_runs_do_not_write_into_one_file(
    xooai: Xooai, flow: Path, lines: Callable[..., Path], tmp_path: Path
) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "out").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = xooai("flow", "post", flow, "-M", "kit", "--input", lines({"value": "a"}), "-o", tmp_path / "out")

    assert "is being written by another run" in said(ended)


def test_input_needs_an_output_and_a_file(xooai: Xooai, flow: Path, tmp_path: Path) -> None:
    assert "--input needs --output" in said(xooai("flow", "post", flow, "-M", "kit", "--input", "x"))
    assert "there is no file 'x'" in said(
        xooai("flow", "post", flow, "-M", "kit", "--input", "x", "-o", tmp_path / "o")
    )
    assert not (tmp_path / "o").exists()


def test_lines_come_from_standard_input_and_go_to_standard_output(
    flow: Path, lines: Callable[..., Path], tmp_path: Path
) -> None:
    with lines({"value": "a"}, {"value": "b"}).open() as source:
        process = spawned("flow", "post", flow, "--module", "kit", "--input", "-", "-o", "-", stdin=source)
        out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert [json.loads(line)["result"]["value"] for line in out.splitlines()] == ["A!?", "B!?"]
    assert "this is printed while the module is imported" in err
