"""Whatever is said in the log is one line of it, as text and as JSON, and so is what strangers name that call."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xooai.driver import Head
from xooai.errors import Code
from xooai.layers import log

pytest.importorskip("click", reason="the command line needs click; it comes with: pip install -e '.[cli]'")
logs: Any = pytest.importorskip("xooai.cli.logs")

HOSTILE = st.text(st.sampled_from('ab/ "\\{}\n\r\t\x00\x1b\x7f\x85\u2028\u2029\u202e\U0001f600'), max_size=40)


class Kept(logging.Handler):
    """Keeps what it is given, in both forms."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((logs._Text().format(record), logs._Json().format(record)))


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    handler = Kept()
    handler.addFilter(logs.identified)
    for name in ("strange", "xooai.calls"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("strange").propagate = False  # what is not cleaned is for nobody else
    yield handler
    logging.getLogger("strange").propagate = True
    for name in ("strange", "xooai.calls"):
        logging.getLogger(name).removeHandler(handler)
        logging.getLogger(name).setLevel(logging.NOTSET)


def one_line(kept: Kept) -> dict[str, Any]:
    """The record that was kept, which is one line in both forms and shows no control character."""
    ((text, line),) = kept.lines
    kept.lines.clear()
    for form in (text, line):
        assert len(form.splitlines()) == 1
        assert not set(form) & set("\x00\x1b\x7f\x85\u2028\u2029\u202e")
    return dict(json.loads(line))


@settings(max_examples=50)
@given(HOSTILE)
def test_what_anybody_says_is_one_line(kept: Kept, text: str) -> None:
    logging.getLogger("strange").info("%s", text)
    assert one_line(kept)["logger"] == "strange"


@settings(max_examples=50)
@given(path=HOSTILE, tenant=HOSTILE, id=HOSTILE)
def test_what_strangers_call_is_one_line(kept: Kept, path: str, tenant: str, id: str) -> None:
    head = Head(f"/{path}", peer="127.0.0.1:1", identity=tenant, driver="http", metadata={"x-request-id": id})
    log.refused(head, Code.PERMISSION_DENIED)
    found = one_line(kept)
    assert found["code"] == "PERMISSION_DENIED"
    assert found.get("request_id", "") in ("", id)
