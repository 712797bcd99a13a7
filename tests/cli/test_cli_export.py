"""`xooai export proto` writes the file of a class or of a server's executor, and says in one line what it cannot write."""

from __future__ import annotations

from command_line import Xooai


def test_a_class_is_written_without_making_one(xooai: Xooai) -> None:
    ended = xooai("export", "proto", "kit:Broken")  # its constructor raises

    assert ended.code == 0
    assert 'syntax = "proto3";\n\npackage xooai.broken;' in ended.out


def test_the_file_has_the_endpoints_with_what_they_say_of_themselves(xooai: Xooai) -> None:
    written = xooai("export", "proto", "kit:Kit").out

    assert (
        "  // Say it louder.\n  //\n  // With a mark at the end.\n  rpc Shout(ShoutRequest) returns (Text);\n"
        in written
    )
    assert 'message ShoutRequest {\n  Text doc = 1;\n  // default: "!"\n  optional string mark = 2;\n}' in written


def test_a_server_gives_the_file_of_its_class(xooai: Xooai, kit: str) -> None:
    written = xooai("export", "proto", "kit:Kit").out

    assert xooai("export", "proto", kit).out == written
    assert xooai("export", "proto", kit.removesuffix("/kit")).out == written


def test_the_name_that_a_class_is_served_by_is_that_of_the_service(xooai: Xooai) -> None:
    written = xooai("export", "proto", "kit:Kit", "--name", "other-kit").out

    assert "package xooai.other_kit;" in written
    assert "service OtherKit {" in written


def test_what_is_no_executors_name_is_refused(xooai: Xooai, kit: str) -> None:
    ended = xooai("export", "proto", "kit:Kit", "--name", "a/b")
    assert (ended.code, ended.out) == (2, "")
    assert "'a/b' is not a name for an executor" in ended.err

    ended = xooai("export", "proto", kit, "--name", "other")
    assert ended.code == 2
    assert "--name is for a class" in ended.err


def test_an_executor_that_is_not_there_names_those_that_are(xooai: Xooai, kit: str) -> None:
    ended = xooai("export", "proto", kit.replace("/kit", "/kid"))

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "xooai: no 'kid' there; did you mean 'kit'?; there are: kit\n"
