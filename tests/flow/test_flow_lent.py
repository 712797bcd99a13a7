"""What a caller gives a Flow stays the caller's, and each node has it as it was when it was given."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from xooai import ComboDoc, Executor, Flow, Text, post

TURNS = 3  # the first post to a Flow goes another way than those after it


class Page(ComboDoc):
    words: list[str]


class Pages(Executor):
    kept = Page(words=[])

    @post
    def add(self, page: Page) -> Page:
        page.words.append("x")
        return page

    @post
    async def wait(self, page: Page) -> Page:
        await asyncio.sleep(0)
        page.words.append("x")
        return page

    @post
    async def keep(self, page: Page) -> Page:
        self.kept.words.append("kept")
        return page

    @post
    def grow(self, docs: list[Text]) -> list[Text]:
        docs.append(Text(value="more"))
        return docs

    @post
    def grow_inside(self, docs: list[list[Text]]) -> int:
        docs[0].append(Text(value="more"))
        return len(docs[0])


@pytest.fixture
def pages() -> Iterator[Pages]:
    with Pages() as pages:
        yield pages


def beside(pages: Pages, on: str) -> Flow:
    """Two nodes side by side."""
    return Flow().add(pages, on=on, id="left").add(pages, on=on, id="right")


@pytest.mark.parametrize("on", ["add", "wait"])
def test_what_a_caller_changes_while_the_flow_runs_is_seen_by_no_node(pages: Pages, on: str) -> None:
    async def posted(f: Flow) -> dict[str, Page]:
        page = Page(words=["given"])
        running = asyncio.ensure_future(f.apost(page=page))
        await asyncio.sleep(0)
        page.words.append("late")
        found: dict[str, Page] = await running
        return found

    with beside(pages, on) as f:
        f.post(page=Page(words=[]))
        for _ in range(TURNS):
            found = asyncio.run(posted(f))
            assert [found[id].words for id in ("left", "right")] == [["given", "x"]] * 2


def test_what_one_node_changes_behind_the_callers_back_is_not_seen_by_the_one_beside_it(pages: Pages) -> None:
    async def posted(f: Flow) -> dict[str, Page]:
        found: dict[str, Page] = await f.apost(page=pages.kept)
        return found

    with beside(pages, "keep") as f:
        f.post(page=Page(words=[]))
        pages.kept = Page(words=["given"])
        found = asyncio.run(posted(f))
        assert [found[id].words for id in ("left", "right")] == [["given"]] * 2


def test_a_list_that_a_node_adds_to_grows_for_nobody_else(pages: Pages) -> None:
    with beside(pages, "grow") as f, beside(pages, "grow_inside") as nested:
        for _ in range(TURNS):
            docs = [Text(value="one")]
            assert [len(found) for found in f.post(docs=docs).values()] == [2, 2]
            assert nested.post(docs=[docs]) == {"left": 2, "right": 2}
            assert len(docs) == 1


def test_a_list_that_the_followers_of_a_node_add_to_grows_for_each_alone(pages: Pages) -> None:
    f = Flow().add(pages, on="grow", id="first").add(pages, on="grow", id="left", needs="first")
    with f.add(pages, on="grow", id="right", needs="first"):
        for _ in range(TURNS):
            assert [len(found) for found in f.post(docs=[]).values()] == [2, 2]
        assert {id: len(found) for id, found in f.run(docs=[]).replies.items()} == {"first": 1, "left": 2, "right": 2}


def test_the_reply_in_a_trace_is_as_it_was_given_whatever_its_taker_does_with_it(pages: Pages) -> None:
    with Flow().add(pages, on="add", id="one").add(pages, on="add", id="two", needs="one") as f:
        f.post(page=Page(words=[]))
        replies = f.run(page=Page(words=[])).replies
        assert [replies[id].words for id in ("one", "two")] == [["x"], ["x", "x"]]
