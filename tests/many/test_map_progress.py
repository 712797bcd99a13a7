"""The bar of `map`: on stderr, where it was asked for."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from xooai import Executor, NotFound, PluginError, Text, post


class Words(Executor):
    @post
    async def upper(self, doc: Text) -> Text:
        if not doc.read():
            raise NotFound("no text")
        return Text(value=doc.read().upper())


def texts() -> list[Text]:
    return [Text(value=value) for value in ("a", "", "c")]


def test_a_bar_tells_how_many_are_done_how_fast_and_how_many_failed(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    with Words() as words:
        found = list(words.map(docs=texts(), on_error="keep", progress=True))

    out, err = capsys.readouterr()
    assert len(found) == 3
    assert out == ""
    assert "upper" in err
    assert "3/3" in err
    assert "/s" in err
    assert "1 error " in err


def test_the_number_of_items_need_not_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    with Words() as words:
        results = words.map(docs=iter(texts()), ordered=False, on_error="keep", progress=True)
        next(results)
        results.close()

    assert "/?" in capsys.readouterr().err


def test_nothing_is_printed_unless_it_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with Words() as words:
        list(words.map(docs=texts(), on_error="keep"))

    assert capsys.readouterr() == ("", "")


def test_without_what_draws_it_an_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    ways: list[Any] = [Words().map, Words().amap]
    for way in ways:
        with pytest.raises(PluginError, match=r"needs rich; try: pip install 'xooai\[cli\]'"):
            way(docs=texts(), progress=True)
