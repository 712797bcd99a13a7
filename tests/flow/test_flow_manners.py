"""Nodes whose servers want a key, or are known by an authority of one's own: in Python and in a file, which holds no secret."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from authority import HERE, Authority
from xooai import Executor, Flow, FlowError, InvalidArgument, current, post

pytest.importorskip("yaml")

SECRET = "Bearer 6f1e"


class Asked(Executor):
    @post
    def said(self, name: str) -> str:
        return current().metadata.get(name, "nothing")


def filed(folder: Path, url: str, more: str = "") -> str:
    """A file of a Flow with one node."""
    file = folder / "flow.yaml"
    file.write_text(f"nodes:\n  - use: {url}/said\n    metadata: {{X-Tenant: acme}}\n{more}", encoding="utf-8")
    return str(file)


KEY = "    metadata_env: {authorization: ASKED_KEY}\n"


def test_metadata_of_a_node_goes_with_its_calls_and_with_no_others(serve: Callable[[Any], str]) -> None:
    url = serve(Asked())
    f = Flow().add(f"{url}/said", id="a", metadata={"Authorization": SECRET})
    f.add([f"{url}/said", f"{url}/said".replace("127.0.0.1", "localhost")], id="b", metadata={"authorization": "other"})
    with f.add(f"{url}/said", id="c"):
        assert f.post(name="authorization") == {"a": SECRET, "b": "other", "c": "nothing"}


def test_a_file_names_the_variable_of_a_secret_and_is_written_again_without_it(
    serve: Callable[[Any], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASKED_KEY", SECRET)
    with Flow.load(filed(tmp_path, serve(Asked()), KEY)) as f:
        assert [f.post(name=name) for name in ("authorization", "x-tenant")] == [SECRET, "acme"]
        written = f.dump()

    assert SECRET not in written
    (tmp_path / "again.yaml").write_text(written)
    assert Flow.load(tmp_path / "again.yaml").dump() == written
    assert all(said in written for said in ("metadata: {X-Tenant: acme}", "metadata_env: {authorization: ASKED_KEY}"))


def test_metadata_that_a_program_gave_is_written_to_no_file() -> None:
    f = Flow().add("http://127.0.0.1:9/asked/said", id="a", metadata={"authorization": SECRET})
    with pytest.raises(
        FlowError, match="node 'a' cannot be written: its metadata 'authorization' may be secret"
    ) as caught:
        f.dump()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (KEY, r"line 4: the variable 'ASKED_KEY' of the environment is not set"),
        ("    metadata_env: {X-Tenant: HOME}\n", r"line 4: metadata 'X-Tenant' is given twice"),
        ("    metadata_env: {host: PATH}\n", r"line 2: metadata 'host' is a header that the driver writes"),
        ("    trust: [a.pem]\n", r"line 4: "),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, complaint: str
) -> None:
    monkeypatch.delenv("ASKED_KEY", raising=False)
    with pytest.raises((FlowError, InvalidArgument), match=complaint):
        Flow.load(filed(tmp_path, "http://127.0.0.1:9/asked", more))


@pytest.mark.parametrize("said", [{"metadata": {"x-tenant": "acme"}}, {"trust": "own.pem"}], ids=str)
def test_what_is_called_in_this_process_takes_neither(said: dict[str, Any]) -> None:
    with pytest.raises(FlowError, match=re.escape("metadata= and trust= are for a node that is named by its URL")):
        Flow().add(Asked, **said)


def test_a_node_is_called_at_a_server_of_an_authority_of_ones_own(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    authority = Authority(tmp_path)
    with Asked() as asked:
        url = asked.start("https://127.0.0.1:0", certificate=str(authority.signs("server", HERE).both))[0]
        with Flow.load(filed(tmp_path, f"{url}/asked", f"    trust: {authority.trust}\n")) as f:
            assert f.post(name="x-tenant") == "acme"
            assert f"trust: {authority.trust}" in f.dump()
