"""Tests of a driver: a whole program over it gives the answers that it gives in one process, in every codec."""

from __future__ import annotations

import asyncio
import datetime
import enum
import math
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from xooai import (
    ComboDoc,
    Executor,
    FailedPrecondition,
    File,
    Image,
    Internal,
    InvalidArgument,
    NotFound,
    PluginError,
    ResourceExhausted,
    Tensor,
    Text,
    XooaiError,
    current,
    plugins,
    post,
    stream,
)
from xooai.codec import CODECS
from xooai.driver import Driver, Shape
from xooai.testing.suite.fixtures import Fixtures

__all__ = ["ProgramTests"]

AT_ONCE = 50  # calls side by side
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


class Colour(enum.Enum):
    """A choice."""

    RED = "red"
    BLUE = 2


class Page(ComboDoc):
    """Documents inside a document."""

    scan: Image
    caption: Text | None = None
    others: dict[str, Image | Text] = {}


class Program(Executor):
    """Endpoints with all that may pass a codec."""

    @post
    def page(self, doc: Page) -> Page:
        return doc

    @post
    async def documents(self, doc: list[Text | Image | File | Tensor]) -> list[Text | Image | File | Tensor]:
        return doc

    @post
    def values(
        self,
        number: float,
        whole: int,
        when: datetime.datetime,
        name: uuid.UUID,
        price: Decimal,
        colour: Colour,
        data: bytes,
        table: dict[str, list[int | None]],
    ) -> tuple[float, int, datetime.datetime, uuid.UUID, Decimal, Colour, bytes, dict[str, list[int | None]]]:
        return number, whole, when, name, price, colour, data, table

    @post
    async def who(self) -> dict[str, str | bool]:
        call = current()
        call.reply_metadata["x-seen"] = "yes"
        return {"token": call.metadata.get("x-token", ""), "limited": call.remaining is not None}

    @post
    def fail(self, kind: str) -> None:
        errors: dict[str, Exception] = {
            "found": NotFound("no such thing: é", details={"n": [1, None]}),
            "state": FailedPrecondition("first do that"),
            "load": ResourceExhausted("full", reason="load", retry_after=31.0),  # for which no client waits
            "bug": RuntimeError("a secret"),
        }
        raise errors[kind]

    @stream
    async def halves(self, numbers: AsyncIterator[int]) -> AsyncIterator[float]:
        async for number in numbers:
            yield number / 2

    @stream
    def total(self, numbers: Iterator[int]) -> int:
        return sum(numbers)


class Both(NamedTuple):
    """The program in this process, and a client of it over the driver."""

    here: Program
    there: Program
    url: str


VALUES: dict[str, Any] = {
    "number": 0.1,
    "whole": 2**63 - 1,
    "when": datetime.datetime(2024, 2, 29, 23, 59, 59, 999_999, datetime.UTC),
    "name": uuid.UUID(int=2**127 + 1),
    "price": Decimal("0.10"),
    "colour": Colour.BLUE,
    "data": bytes(range(256)),
    "table": {"a": [1, None, -(2**63)], "": []},
}


def outcome(client: Program, on: str, codec: str, **arguments: Any) -> Any:
    """What a call gives: its reply, or all that its error tells, but for its id."""
    try:
        return client.post(on=on, codec=codec, **arguments)
    except XooaiError as error:
        return type(error), error.message, error.details


def streamed(client: Program, on: str, codec: str, numbers: list[Any]) -> list[Any]:
    """What a call that streams gives: its replies, and behind them all that its error tells."""
    found: list[Any] = []
    try:
        replies = client.stream(on=on, codec=codec, numbers=numbers)
        found.extend(replies if on == "halves" else [replies])
    except XooaiError as error:
        found += [type(error), error.message, error.details]
    return found


class ProgramTests(Fixtures):
    """The same program, in process and over the driver: client and server on loops and threads of their own."""

    @pytest.fixture
    def both(self, driver: Driver) -> Iterator[Both]:
        """Needs the driver to be installed for the scheme of its URL, which is how executors find it."""
        if Shape.UNARY not in self.shapes:
            pytest.skip("the driver does not declare unary calls")
        try:
            plugins.driver(urlsplit(self.url).scheme)
        except PluginError as error:
            pytest.skip(f"an executor does not find the driver: {error.message}")
        options = self.listen_options
        with ExitStack() as stack:
            program = stack.enter_context(Program())
            (url,) = program.start(
                self.url, certificate=options.certificate, key=options.key, insecure=options.insecure
            )
            yield Both(program, stack.enter_context(Program.at(url, trust=self.dial_options.trust)), url)

    @pytest.mark.parametrize("codec", CODECS)
    def test_documents_come_back_as_in_process(self, both: Both, codec: str) -> None:
        others: dict[str, Image | Text] = {"a": Text(value=""), "b": Image(ref="a.png", value=PNG)}
        page = Page(scan=Image(value=PNG), caption=Text(value="Grüße, 你好"), others=others)
        tensor = Tensor(value=b"\1\2", dtype="uint8", shape=(2,))
        documents = [Text(value="x"), Image(value=PNG), File(value=b"\0\xff"), tensor]

        assert (
            both.there.post(on="page", codec=codec, doc=page)
            == both.here.post(on="page", codec=codec, doc=page)
            == page
        )
        for client in (both.here, both.there):
            assert client.post(on="documents", codec=codec, doc=documents) == documents

    @pytest.mark.parametrize("codec", CODECS)
    def test_values_come_back_as_in_process(self, both: Both, codec: str) -> None:
        wanted = tuple(VALUES.values())

        assert outcome(both.there, "values", codec, **VALUES) == outcome(both.here, "values", codec, **VALUES) == wanted

    @pytest.mark.parametrize("codec", CODECS)
    @pytest.mark.parametrize("number", [math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308])
    def test_numbers_come_back_as_in_process(self, both: Both, codec: str, number: float) -> None:
        here, there = (
            outcome(client, "values", codec, **{**VALUES, "number": number}) for client in (both.here, both.there)
        )

        assert repr(here) == repr(there)
        assert repr(here[0]) == repr(number)

    @pytest.mark.parametrize("codec", CODECS)
    @pytest.mark.parametrize("kind", ["found", "state", "load", "bug"])
    def test_errors_are_those_of_the_process(self, both: Both, codec: str, kind: str) -> None:
        here, there = (outcome(client, "fail", codec, kind=kind) for client in (both.here, both.there))

        assert here == there
        assert "secret" not in str(there)
        assert (there[0] is Internal) == (kind == "bug")

    @pytest.mark.parametrize("codec", CODECS)
    def test_what_does_not_validate_is_refused_alike(self, both: Both, codec: str) -> None:
        here, there = (
            outcome(client, "values", codec, **{**VALUES, "whole": "many"}) for client in (both.here, both.there)
        )

        assert here == there
        assert here[0] is InvalidArgument

    @pytest.mark.parametrize("codec", CODECS)
    def test_metadata_and_the_time_limit_reach_the_handler(self, both: Both, codec: str) -> None:
        found = both.there.post(on="who", codec=codec, metadata={"X-Token": "t 1"}, timeout=30)

        assert found == {"token": "t 1", "limited": True}

    @pytest.mark.parametrize("codec", CODECS)
    @pytest.mark.parametrize(("on", "needed"), [("total", Shape.CLIENT), ("halves", Shape.BIDI)])
    def test_streams_are_those_of_the_process(self, both: Both, codec: str, on: str, needed: Shape) -> None:
        """With an item that does not validate, too: its place is told."""
        if needed not in self.shapes:
            pytest.skip("the driver does not declare this shape")
        for numbers in ([1, 2, 3], [1, "two", 3], []):
            here, there = (streamed(client, on, codec, numbers) for client in (both.here, both.there))

            assert here == there
            if "two" in numbers:
                assert here[-3] is InvalidArgument
                assert [mistake["loc"] for mistake in here[-1]["errors"]] == [["numbers", 1]]

    def test_a_client_without_the_class_reads_the_types_over_there(self, both: Both) -> None:
        trust = self.dial_options.trust
        with Executor.at(f"{both.url}/program", trust=trust) as client:
            assert client.post(on="page", doc={"scan": Image(value=PNG)}).scan == Image(value=PNG)
            with pytest.raises(NotFound, match="did you mean 'page'"):
                client.post(on="pag")

    def test_calls_from_several_loops_go_side_by_side(self, both: Both) -> None:
        async def calls() -> list[Any]:
            texts = ([Text(value=str(number))] for number in range(AT_ONCE))
            return await asyncio.gather(*(both.there.apost(on="documents", doc=doc) for doc in texts))

        for _ in range(2):  # each on a loop of its own
            answers = asyncio.run(calls())
            assert [answer[0].value for answer in answers] == [str(number) for number in range(AT_ONCE)]
