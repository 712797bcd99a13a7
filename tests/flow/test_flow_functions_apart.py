"""What join= and when= change in place is seen by no other node, nor by who runs the Flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from xooai import ComboDoc, Executor, Flow, Text, post, stream

Put = Callable[[Executor], dict[str, Any]]


class Page(ComboDoc):
    words: list[str]
    title: Text = Text(value="t")


class Pages(Executor):
    @post
    def page(self, doc: Text) -> Page:
        return Page(words=[doc.read()])

    @post
    def plain(self, doc: Text) -> dict[str, list[str]]:
        return {"words": [doc.read()]}

    @post
    def joined(self, words: list[str]) -> str:
        return "+".join(words)

    @stream
    def each(self, doc: Text) -> Iterator[str]:
        yield from ("a", "b")


def changed(page: Any) -> list[str]:
    """The words of a page, to which this adds one."""
    words: list[str] = page["words"] if isinstance(page, dict) else page.words
    words.append("changed")
    return list(words)


def says_yes(page: Any) -> bool:
    return bool(changed(page))


def words_of(page) -> list[str]:  # type: ignore[no-untyped-def]
    found: list[str] = page["words"] if isinstance(page, dict) else page.words
    return found


def together(words: list[str]) -> str:
    return "".join(words)


both = pytest.mark.parametrize("on", ["page", "plain"])


@both
def test_what_a_join_changes_is_not_seen_by_another_node(put: Put, on: str) -> None:
    pages = put(Pages())
    with Flow().add(**pages, on=on, id="page") as f:
        f.add(**pages, on="joined", id="left", needs="page", join=changed)
        f.add(**pages, on="joined", id="right", needs=("page", "left"), join=lambda page, left: words_of(page))
        assert f.post(doc=Text(value="a")) == "a"


@both
def test_what_a_condition_changes_is_not_seen_by_its_node(put: Put, on: str) -> None:
    with Flow().add(**put(Pages()), on=on, id="page").add(use=words_of, id="end", needs="page", when=says_yes) as f:
        for _ in range(2):
            assert f.post(doc=Text(value="a")) == ["a"]


@both
def test_what_a_join_changes_is_not_in_the_replies_of_a_run(put: Put, on: str) -> None:
    with Flow().add(**put(Pages()), on=on, id="page").add(use=together, id="end", needs="page", join=changed) as f:
        ran = f.run(doc=Text(value="a"))
    assert ran.result == "achanged"
    assert words_of(ran.replies["page"]) == ["a"]


def test_what_a_condition_of_a_root_changes_is_not_seen_by_the_roots() -> None:
    def root(page: Page) -> list[str]:
        return page.words

    page = Page(words=["a"])
    with Flow().add(use=root, id="one", when=says_yes).add(use=root, id="other") as f:
        assert f.post(page=page) == {"one": ["a"], "other": ["a"]}
    assert page.words == ["a"]


def test_what_a_join_changes_for_one_item_of_a_stream_is_not_seen_for_the_next() -> None:
    with Pages() as pages, Flow().add(pages, on="each", id="item").add(pages, on="page", id="page") as f:
        f.add(pages, on="joined", id="end", needs=("item", "page"), join=lambda item, page: [item, *changed(page)])
        assert list(f.stream(doc=Text(value="x"))) == ["a+x+changed", "b+x+changed"]


def test_a_document_is_the_same_for_a_condition_and_its_node() -> None:
    seen: list[Text] = []

    def look(page: Page) -> bool:
        seen.append(page.title)
        return True

    def title(page: Page) -> bool:
        return bool(page.title == seen[0])

    with Pages() as pages, Flow().add(pages, on="page", id="page").add(use=title, needs="page", when=look) as f:
        assert f.post(doc=Text(value="a")) is True


def test_a_reply_that_a_join_alone_reads_is_given_as_it_is() -> None:
    class Odd(ComboDoc):
        words: list[str]

        def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Odd:
            raise AssertionError("copied")

    def odd(doc: Text) -> Odd:
        return Odd(words=["a"])

    with Flow().add(use=odd, id="page").add(use=together, id="end", needs="page", join=changed) as f:
        assert f.post(doc=Text(value="a")) == "achanged"
