"""Flows that are posted to by blocking code: `def` nodes run in the caller's thread, where nobody could tell the difference."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from xooai import ComboDoc, Executor, Flow, Internal, InvalidArgument, post
from xooai.flow import answering
from xooai.flow.answering import QUICK_RUNS, SLOW_RUN

MANY = 3 * QUICK_RUNS  # runs after which all that is quick has shown it
PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run

said: ContextVar[str] = ContextVar("said", default="nothing")


class Page(ComboDoc):
    words: list[str]


class Pages(Executor):
    @post
    def add(self, page: Page, word: str = "x") -> Page:
        page.words.append(word)
        return page

    @post
    def both(self, left: Page, right: Page) -> Page:
        return Page(words=[*left.words, "|", *right.words])

    @post
    def thread(self, page: Page) -> int:
        return threading.get_ident()

    @post
    def say(self, page: Page) -> Page:
        before = said.get()
        said.set("something")
        return Page(words=[*page.words, before])

    @post
    def count(self, page: Page) -> int:
        return len(page.words)


@pytest.fixture
def pages() -> Iterator[Pages]:
    with Pages() as pages:
        yield pages


def forked(run: Callable[..., Any], other: Callable[..., Any] | None = None) -> Flow:
    """Two functions side by side."""
    return Flow().add(run, id="left").add(other or run, id="right")


def test_nodes_that_follow_each_other_run_in_the_callers_thread(pages: Pages) -> None:
    with Flow().add(pages, on="add", id="a").add(pages, on="thread", id="b", needs="a") as f:
        f.post(page=Page(words=[]))

        assert f.post(page=Page(words=[])) == threading.get_ident()


def test_one_of_quick_nodes_beside_each_other_runs_in_the_callers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "QUICK", PATIENCE)  # on a busy machine, or a slow one, runs are not
    with forked(lambda doc: threading.get_ident()) as f:
        for _ in range(MANY):
            if threading.get_ident() in f.post(doc=1).values():
                return
    pytest.fail("all nodes of all runs ran elsewhere")


@pytest.mark.parametrize("slow", [1, 2])
def test_one_slow_run_among_many_quick_ones_changes_nothing_and_two_do(
    monkeypatch: pytest.MonkeyPatch, slow: int
) -> None:
    monkeypatch.setattr(answering, "QUICK", PATIENCE)  # whatever the machine's pace
    with forked(lambda doc: threading.get_ident()) as f:
        for _ in range(2 * SLOW_RUN):
            f.post(doc=1)
        monkeypatch.setattr(answering, "QUICK", 0.0)
        for _ in range(slow):
            f.post(doc=1)

        assert (threading.get_ident() in f.post(doc=1).values()) is (slow == 1)


def test_nodes_beside_each_other_that_wait_for_each_other_end_however_often_they_are_quick() -> None:
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def meet(doc: int) -> int:
        meeting.wait()
        return doc

    with forked(meet) as f:
        for turn in range(MANY):
            assert f.post(doc=turn) == {"left": turn, "right": turn}


def test_nodes_of_a_wide_flow_are_each_called_once() -> None:
    calls: list[int] = []

    def call(doc: int) -> int:
        calls.append(doc)
        return doc

    f = Flow()
    for number in range(20):
        f.add(call, id=str(number))
    with f:
        for turn in range(MANY):
            assert f.post(doc=turn) == {str(number): turn for number in range(20)}

    assert sorted(calls) == [turn for turn in range(MANY) for _ in range(20)]


def test_posts_of_many_threads_at_once_never_mix(pages: Pages) -> None:
    wrong: list[Page] = []
    f = Flow().add(pages, on="add", id="left").add(pages, on="add", id="right")
    f.add(pages, on="both", id="join", needs=("left", "right"))

    def repeat(name: str) -> None:
        for turn in range(MANY):
            word = f"{name}{turn}"
            found = f.post(page=Page(words=[word]), word="y")
            if found.words != [word, "y", "|", word, "y"]:
                wrong.append(found)

    with f:
        threads = [threading.Thread(target=repeat, args=(str(number),)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

    assert not wrong


def test_a_node_that_changes_what_it_is_given_changes_it_for_nobody_else(pages: Pages) -> None:
    given = Page(words=["a"])
    f = Flow().add(pages, on="add", id="one").add(pages, on="add", id="left", needs="one")
    f.add(pages, on="add", id="right", needs="one").add(pages, on="both", id="join", needs=("left", "right"))
    with f:
        for _ in range(MANY):
            assert f.post(page=given).words == ["a", "x", "x", "|", "a", "x", "x"]

    assert given.words == ["a"]


def test_a_variable_of_the_context_that_a_node_sets_is_set_for_no_other_and_not_for_the_caller(pages: Pages) -> None:
    with Flow().add(pages, on="say", id="a").add(pages, on="say", id="b", needs="a") as f:
        for _ in range(3):
            assert f.post(page=Page(words=[])).words == ["nothing", "nothing"]

    assert said.get() == "nothing"


def test_a_failure_in_the_callers_thread_names_its_node_and_the_flow_goes_on_afterwards() -> None:
    def fail(doc: int) -> int:
        if doc < 0:
            raise InvalidArgument("below zero")
        return doc

    with forked(fail, lambda doc: doc) as f:
        for turn in range(MANY):
            f.post(doc=turn)
            with pytest.raises(InvalidArgument, match=r"node 'left' \(fail in process\) failed: below zero"):
                f.post(doc=-1)


def test_what_is_no_error_of_ours_is_told_by_an_id() -> None:
    def fail(doc: int) -> int:
        raise StopIteration(doc)

    with Flow().add(lambda doc: doc, id="a").add(fail, id="b", needs="a") as f:
        for _ in range(2):
            with pytest.raises(Internal, match=r"node 'b' \(fail in process\) failed: .* \(request "):
                f.post(doc=1)


def test_a_failure_is_told_while_another_node_runs_once_runs_are_slow() -> None:
    leaving = threading.Event()

    def wait(doc: float) -> bool:
        return leaving.wait(PATIENCE if doc < 0 else doc)

    def fail(doc: float) -> float:
        if doc < 0:
            raise InvalidArgument("below zero")
        return doc

    with forked(wait, fail) as f:
        for _ in range(MANY):
            f.post(doc=0.0)
        f.post(doc=0.01)
        try:
            with pytest.raises(InvalidArgument, match="below zero"):
                f.post(doc=-1.0)
            assert not leaving.is_set()
        finally:
            leaving.set()


def test_what_is_not_of_the_type_that_the_flow_takes_is_refused_as_everywhere(pages: Pages) -> None:
    with Flow().add(pages, on="add", id="a").add(pages, on="count", id="b", needs="a") as f:
        for _ in range(2):
            assert f.post(page={"words": ["a"]}) == 2
            with pytest.raises(InvalidArgument) as caught:
                f.post(page=Page(words=[]), word=7)
            assert caught.value.errors[0]["loc"] == ("word",)
            with pytest.raises(InvalidArgument, match="no parameter 'wrod'"):
                f.post(page=Page(words=[]), wrod="x")
