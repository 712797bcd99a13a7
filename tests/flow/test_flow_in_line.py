"""Flows whose nodes are all here and take documents of plain fields: those go on as objects, and no node shares one."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from pydantic import Field

from xooai import (
    ComboDoc,
    DeadlineExceeded,
    Executor,
    Flow,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Text,
    current,
    post,
)
from xooai.call import Call, Service
from xooai.flow import answering
from xooai.flow.answering import QUICK_RUNS
from xooai.flow.plain import Plain
from xooai.threads import SIZE

MANY = 3 * QUICK_RUNS
PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run

said: ContextVar[str] = ContextVar("said", default="nothing")


class Note(ComboDoc):
    text: str
    count: int = 0
    title: Text | None = None


class Headline(Text):
    pass


class Fragile(ComboDoc):
    text: str

    def model_post_init(self, context: Any) -> None:
        if self.text == "last":
            next(iter(()))


class Notes(Executor):
    def __init__(self) -> None:
        self.kept = Note(text="kept")
        self.seen: list[Note] = []
        self.going = asyncio.Event()

    @post
    async def add(self, note: Note, by: int = 1) -> Note:
        note.count += by
        return note

    @post
    def add_here(self, note: Note, by: int = 1) -> Note:
        note.count += by
        return note

    @post
    async def wait(self, note: Note) -> Note:
        await self.going.wait()
        note.count += 1
        return note

    @post
    async def both(self, left: Note, right: Note) -> Note:
        return Note(text=left.text + right.text, count=left.count + right.count)

    @post
    def both_here(self, left: Note, right: Note) -> Note:
        return Note(text=left.text + right.text, count=left.count + right.count)

    @post
    async def keep(self, note: Note) -> Note:
        self.kept.count += 1
        return note

    @post
    def keep_here(self, note: Note) -> Note:
        self.kept.count += 1
        return note

    @post
    async def remember(self, note: Note) -> Note:
        self.seen.append(note)
        return note

    @post
    async def spoil(self, note: Note) -> Note:
        note.count = "many"  # type: ignore[assignment]
        return note

    @post
    async def spoil_and_refuse(self, note: Note) -> Note:
        note.count = "many"  # type: ignore[assignment]
        raise InvalidArgument(f"not {note.text!r}")

    @post
    def spoil_and_refuse_here(self, note: Note) -> Note:
        note.count = "many"  # type: ignore[assignment]
        raise InvalidArgument(f"not {note.text!r}")

    @post
    async def refuse(self, note: Note) -> Note:
        raise InvalidArgument(f"not {note.text!r}")

    @post
    async def caller(self, note: Note) -> str:
        return f"{current().endpoint.name} by {said.get()}"

    @post
    async def say(self, note: Note) -> Note:
        said.set("a node")
        await self.going.wait()
        return note


@pytest.fixture
def notes() -> Iterator[Notes]:
    with Notes() as notes:
        yield notes


def joined(notes: Notes, on: str, join: str = "both") -> Flow:
    """Two nodes side by side, and one that makes one note of both."""
    f = Flow().add(notes, on=on, id="left").add(notes, on=on, id="right")
    return f.add(notes, on=join, id="join", needs=("left", "right"))


def chain(notes: Notes, *names: str) -> Flow:
    f = Flow().add(notes, on=names[0], id="0")
    for number, name in enumerate(names[1:], 1):
        f.add(notes, on=name, id=str(number), needs=str(number - 1))
    return f


def posted(f: Flow, **arguments: Any) -> Any:
    """The result by `apost`, on a loop of its own."""

    async def call() -> Any:
        async with asyncio.timeout(PATIENCE):
            return await f.apost(**arguments)

    return asyncio.run(call())


def test_a_note_that_its_caller_keeps_is_changed_by_no_node(notes: Notes) -> None:
    note = Note(text="a", title=Text(value="b"))

    with joined(notes, "add") as f, joined(notes, "add_here", "both_here") as g:
        for _ in range(MANY):
            assert posted(f, note=note, by=2) == g.post(note=note, by=2) == Note(text="aa", count=4)

    assert note == Note(text="a", title=Text(value="b"))


@pytest.mark.parametrize("on", ["keep", "keep_here"])
def test_what_one_node_changes_behind_the_callers_back_is_not_seen_by_the_one_beside_it(notes: Notes, on: str) -> None:
    with Flow().add(notes, on=on, id="left").add(notes, on=on, id="right") as f:
        for _ in range(MANY):
            before = notes.kept.count
            post = f.post if on == "keep_here" else lambda **given: posted(f, **given)
            found = post(note=notes.kept)
            assert [found[id].count for id in ("left", "right")] == [before, before]


def test_what_a_caller_changes_while_a_node_waits_is_seen_by_no_node(notes: Notes) -> None:
    async def changed(f: Flow) -> Note:
        notes.going.clear()
        note = Note(text="a")
        running = asyncio.ensure_future(f.apost(note=note))
        await asyncio.sleep(0)
        note.text = "changed"
        notes.going.set()
        found: Note = await running
        return found

    with joined(notes, "wait") as f:
        notes.going.set()
        f.post(note=Note(text="a"))
        for _ in range(3):
            notes.going = asyncio.Event()
            assert asyncio.run(changed(f)) == Note(text="aa", count=2)


def test_a_reply_that_two_nodes_take_is_anothers_for_each(notes: Notes) -> None:
    f = Flow().add(notes, on="remember", id="first").add(notes, on="add", id="left", needs="first")
    f.add(notes, on="add", id="right", needs="first").add(notes, on="both", id="join", needs=("left", "right"))
    with f:
        for _ in range(3):
            assert posted(f, note=Note(text="a")).count == 2

    assert [note.count for note in notes.seen] == [0, 0, 0]


def test_a_reply_that_its_handler_keeps_stays_as_it_was_given(notes: Notes) -> None:
    with chain(notes, "remember", "add", "add") as f:
        assert posted(f, note=Note(text="a")).count == 2

    assert notes.seen == [Note(text="a")]


@pytest.mark.parametrize("last", ["caller", "add"])
def test_a_reply_of_another_type_than_was_promised_is_told_of_its_node(notes: Notes, last: str) -> None:
    with chain(notes, "add", "spoil", last) as f:
        for _ in range(2):
            with pytest.raises(Internal, match=r"node '1' \(notes/spoil in process\) failed: .*count"):
                posted(f, note=Note(text="a"))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_node_that_fails_is_named_and_those_after_it_are_not_called(notes: Notes, place: int) -> None:
    names = ["remember"] * 3
    names[place] = "refuse"
    with chain(notes, *names) as f:
        for turn in range(1, 3):
            with pytest.raises(
                InvalidArgument, match=rf"node '{place}' \(notes/refuse in process\) failed: not 'a'"
            ) as caught:
                posted(f, note=Note(text="a"))
            assert caught.value.details["node"] == str(place)
            assert len(notes.seen) == turn * place


def test_a_node_that_fails_ends_the_one_beside_it_which_waits(notes: Notes) -> None:
    with Flow().add(notes, on="wait", id="left").add(notes, on="refuse", id="right") as f:
        for _ in range(2):
            notes.going = asyncio.Event()
            with pytest.raises(InvalidArgument, match="node 'right'"):
                posted(f, note=Note(text="a"))


def test_all_that_is_ready_runs_while_a_node_waits(notes: Notes) -> None:
    async def first_right() -> Note:
        notes.going = asyncio.Event()
        running = asyncio.ensure_future(f.apost(note=Note(text="a")))
        async with asyncio.timeout(PATIENCE):
            while not notes.seen:  # noqa: ASYNC110 - a list, which a node fills
                await asyncio.sleep(0)
            notes.going.set()
            found: Note = await running
            return found

    f = Flow().add(notes, on="wait", id="left").add(notes, on="add", id="adds")
    f.add(notes, on="remember", id="right", needs="adds").add(notes, on="both", id="join", needs=("left", "right"))
    with f:
        for _ in range(3):
            notes.seen.clear()
            assert asyncio.run(first_right()) == Note(text="aa", count=2)


def test_what_a_node_that_waits_has_set_in_its_context_is_not_seen_beside_it(notes: Notes) -> None:
    async def both() -> dict[str, Any]:
        notes.going = asyncio.Event()
        running = asyncio.ensure_future(f.apost(note=Note(text="a")))
        for _ in range(5):
            await asyncio.sleep(0)
        notes.going.set()
        found: dict[str, Any] = await running
        return found

    with Flow().add(notes, on="say", id="left").add(notes, on="caller", id="right") as f:
        for _ in range(3):
            assert asyncio.run(both())["right"] == "caller by nothing"


def test_a_flow_whose_node_waits_for_ever_ends_in_time_and_says_which_it_was(notes: Notes) -> None:
    with chain(notes, "add", "wait") as f:
        f.check()
        notes.going = asyncio.Event()
        with pytest.raises(DeadlineExceeded, match=r"had begun and not ended: '1'|node '1'"):
            posted(f, note=Note(text="a"), timeout=0.2)


def test_calls_that_are_too_many_for_one_post_are_refused_here_too(
    notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xooai.flow.budget.CALLS", 2)
    with chain(notes, "add", "add") as two, chain(notes, "add", "add", "add") as three:
        assert posted(two, note=Note(text="a")).count == 2
        with pytest.raises(ResourceExhausted, match="one post may make 2 calls"):
            posted(three, note=Note(text="a"))


@pytest.mark.parametrize("value", ["x" * 100_000, "\ud800", "ä"], ids=["long", "half", "umlaut"])
def test_a_text_that_is_not_copied_goes_as_it_did(notes: Notes, value: str) -> None:
    with joined(notes, "add") as f:
        if value == "\ud800":
            with pytest.raises(InvalidArgument, match="surrogates"):
                posted(f, note=Note.model_construct(text=value, count=0, title=None))
        else:
            assert posted(f, note=Note(text=value)) == Note(text=value * 2, count=2)


def test_layers_of_an_executor_see_the_frames_of_its_calls() -> None:
    seen: list[int] = []

    def watching(service: Service) -> Service:
        async def watched(call: Call) -> None:
            await service(call)
            seen.append(len(call.reply or b""))

        return watched

    with Flow().add(Watched(layers=(watching,)), on="add", id="left").add(Watched(), on="add", id="right") as f:
        posted(f, note=Note(text="a"))

    assert len(seen) == 1
    assert seen[0] > 0


class Watched(Executor):
    @post
    async def add(self, note: Note) -> Note:
        return note


def test_nothing_of_a_run_is_held_once_it_has_ended(notes: Notes) -> None:
    class Heavy(ComboDoc):
        text: str

    async def heavy(doc: Heavy) -> Heavy:
        made.append(weakref.ref(doc))
        return doc

    def heavy_here(doc: Heavy) -> Heavy:
        made.append(weakref.ref(doc))
        return doc

    made: list[weakref.ref[Heavy]] = []
    with Flow().add(heavy, id="a").add(heavy, id="b") as f, Flow().add(heavy_here, id="a").add(heavy_here, id="b") as g:
        for _ in range(MANY):
            posted(f, doc=Heavy(text="a"))
            g.post(doc=Heavy(text="a"))
        gc.collect()
        assert len(made) == 4 * MANY
        assert not any(one() for one in made)


class Meeting:
    """Two nodes that wait for each other once, after having been quick many times."""

    def __init__(self) -> None:
        self.barrier: threading.Barrier | None = None

    def meet(self, note: Note) -> Note:
        if self.barrier is not None:
            self.barrier.wait(PATIENCE)
        return note


@pytest.mark.parametrize("is_last", [False, True])
def test_nodes_beside_each_other_that_wait_for_each_other_all_of_a_sudden_end(
    monkeypatch: pytest.MonkeyPatch, is_last: bool
) -> None:
    monkeypatch.setattr(answering, "QUICK", PATIENCE)  # on a busy machine, or a slow one, runs are not
    meeting = Meeting()
    f = Flow()
    if is_last:
        f.add(lambda note: note, id="first")
    needs = "first" if is_last else ()
    f.add(meeting.meet, id="left", needs=needs).add(meeting.meet, id="right", needs=needs)
    with f:
        for turn in range(MANY):
            meeting.barrier = threading.Barrier(2) if turn % 7 == 6 else None
            found = f.post(note=Note(text="a", count=turn))
            assert [found[id].count for id in ("left", "right")] == [turn, turn]


class Meets(Executor):
    def __init__(self, meeting: Meeting, name: str) -> None:
        super().__init__(name=name)
        self.meeting = meeting

    @post
    def meet(self, note: Note) -> Note:
        return self.meeting.meet(note)


def test_more_nodes_than_one_pool_has_threads_may_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "QUICK", PATIENCE)  # on a busy machine, or a slow one, runs are not
    meeting, count = Meeting(), SIZE + 3
    with ExitStack() as stack:
        f = stack.enter_context(Flow())
        for number in range(count):
            f.add(stack.enter_context(Meets(meeting, f"meets{number}")), on="meet", id=f"node{number}")
        for _ in range(MANY):
            f.post(note=Note(text="a"))
        meeting.barrier = threading.Barrier(count)
        assert len(f.post(note=Note(text="a"))) == count


def test_what_follows_nodes_that_ran_in_threads_is_called_once_and_with_their_replies(
    monkeypatch: pytest.MonkeyPatch, notes: Notes
) -> None:
    monkeypatch.setattr(answering, "QUICK", PATIENCE)
    meeting = Meeting()
    f = Flow().add(meeting.meet, id="left").add(meeting.meet, id="other")
    f.add(notes, on="add_here", id="right", needs="other")
    f.add(notes, on="both_here", id="join", needs=("left", "right")).add(notes, on="add_here", id="end", needs="join")
    with f:
        for turn in range(MANY):
            meeting.barrier = threading.Barrier(2) if turn % 5 == 4 else None
            assert f.post(note=Note(text="a", count=turn)) == Note(text="aa", count=2 * turn + 2)


def test_a_node_of_a_thread_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "QUICK", PATIENCE)
    meeting = Meeting()

    def fail(note: Note) -> Note:
        meeting.meet(note)
        if meeting.barrier is not None:
            raise InvalidArgument("no")
        return note

    with Flow().add(meeting.meet, id="left").add(fail, id="right") as f:
        for turn in range(MANY):
            meeting.barrier = threading.Barrier(2) if turn % 5 == 4 else None
            if meeting.barrier is None:
                f.post(note=Note(text="a"))
            else:
                with pytest.raises(InvalidArgument, match=r"node 'right' \(fail in process\) failed: no"):
                    f.post(note=Note(text="a"))


@pytest.mark.parametrize(
    ("value", "mistake"),
    [(2**63, "64 bits|less than or equal"), (-(2**63) - 1, "64 bits|greater than or equal"), (2**63 - 1, "")],
    ids=["too-large", "too-small", "largest"],
)
@pytest.mark.parametrize("is_wide", [False, True], ids=["one-root", "two-roots"])
def test_a_number_that_no_message_takes_is_refused_in_process_too(value: int, mistake: str, is_wide: bool) -> None:
    def same(number: int) -> int:
        return number

    f = Flow().add(same, id="one")
    with f.add(same, id="other") if is_wide else f:
        for post in (f.post, lambda **given: posted(f, **given)):
            if mistake:
                with pytest.raises(InvalidArgument, match=mistake):
                    post(number=value)
            else:
                assert post(number=value) == ({"one": value, "other": value} if is_wide else value)


@pytest.mark.parametrize("is_wide", [False, True], ids=["one-root", "two-roots"])
def test_a_text_that_no_message_takes_is_refused_in_process_too(is_wide: bool) -> None:
    def length(text: str) -> int:
        return len(text)

    f = Flow().add(length, id="one")
    with f.add(length, id="other") if is_wide else f:
        for post in (f.post, lambda **given: posted(f, **given)):
            for text in ("a", "ä" * 100_000):
                assert post(text=text) == ({"one": len(text), "other": len(text)} if is_wide else len(text))
            with pytest.raises(InvalidArgument, match="surrogates"):
                post(text="\ud800")


def test_an_interrupt_while_a_node_is_prepared_ends_the_run(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    sure, waiting = Plain.sure, iter([KeyboardInterrupt])

    def interrupted(*given: Any) -> Any:
        for error in waiting:  # once
            raise error
        return sure(*given)

    with chain(notes, "add_here", "add_here") as f:
        f.post(note=Note(text="a"))
        with monkeypatch.context() as patched:
            patched.setattr(Plain, "sure", interrupted)
            with pytest.raises(KeyboardInterrupt):
                f.post(note=Note(text="a"))

        assert f.post(note=Note(text="a")).count == 2


def test_a_bounded_number_of_the_flows_input_is_held_to_its_bound(notes: Notes) -> None:
    def half(number: Annotated[int, Field(gt=3)]) -> int:
        return number // 2

    with Flow().add(half, id="a").add(half, id="b") as f:
        for post in (f.post, lambda **given: posted(f, **given)):
            assert post(number=8) == {"a": 4, "b": 4}
            with pytest.raises(InvalidArgument, match="greater than 3"):
                post(number=3)


@pytest.mark.parametrize("on", ["add", "add_here"])
def test_a_document_of_a_subclass_in_a_field_arrives_as_what_the_field_takes(notes: Notes, on: str) -> None:
    with chain(notes, on, on) as f:
        for post in (f.post, lambda **given: posted(f, **given)):
            found = post(note=Note(text="a", title=Headline(value="b")))
            assert (type(found.title), found.title.value) == (Text, "b")


@pytest.mark.parametrize("is_wide", [False, True])
def test_a_class_that_raises_where_it_is_read_fails_the_node_that_takes_it(is_wide: bool) -> None:
    def lead(fragile: Fragile) -> str:
        return fragile.text

    def shout(fragile: Fragile) -> str:
        return fragile.text.upper()

    f = Flow().add(lead, id="one")
    if is_wide:
        f.add(shout, id="other")
    wrong = Fragile(text="a")
    wrong.text = "last"
    with f:
        for post in (f.post, lambda **given: posted(f, **given)):
            assert post(fragile=Fragile(text="a")) == ({"one": "a", "other": "A"} if is_wide else "a")
            with pytest.raises(Internal, match="node '(one|other)'"):
                post(fragile=wrong)


@pytest.mark.parametrize("on", ["spoil_and_refuse", "spoil_and_refuse_here"])
@pytest.mark.parametrize("is_wide", [False, True])
def test_what_a_node_refuses_after_it_has_changed_it_is_not_told_as_given_wrongly(
    notes: Notes, on: str, is_wide: bool
) -> None:
    f = chain(notes, "add_here", on)
    if is_wide:
        f.add(notes, on="add_here", id="beside", needs="0")
    with f:
        for post in (f.post, lambda **given: posted(f, **given)):
            with pytest.raises(InvalidArgument, match="node '1'.*not 'a'"):
                post(note=Note(text="a"))
