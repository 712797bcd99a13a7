"""Calls the contract as a client of another version: `python skew_client.py URL TRUST FOLDER`, a line for each check.

Ends with 1 where one fails. What only one of the two versions has is left out, and said.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skew_program import ABILITIES, FULL, LARGE, Contract, LaterOrder, Order, Other, Page

from xooai import (
    DeadlineExceeded,
    Executor,
    File,
    Flow,
    Image,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Tensor,
    Text,
    XooaiError,
)

CODECS = ("json", "msgpack")
ITEMS = 1000  # of a stream
AT_ONCE = 64  # calls
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


class LeftOutError(Exception):
    """A check that only one of the two versions can take."""


class Checks:
    """What is to hold, each method over the driver of `url`."""

    def __init__(self, url: str, trust: str | None, folder: Path) -> None:
        self.url, self.trust, self.folder = url, trust, folder
        self.there = Contract.at(url, trust=trust)

    def both_have(self, ability: str) -> None:
        theirs = self.there.post(on="abilities")
        for side, has in (("the client", ABILITIES), ("the server", theirs)):
            if not has.get(ability):
                raise LeftOutError(f"{side} has no {ability}")

    def raised(self, error: type[XooaiError], endpoint: str, /, **arguments: Any) -> XooaiError:
        try:
            answer = self.there.post(on=endpoint, **arguments)
        except error as found:
            return found
        raise AssertionError(f"{endpoint} answered {answer!r}, and {error.__name__} was to come")

    def unary_values(self) -> None:
        table: dict[str, list[int | None]] = {"a": [1, None, -(2**63)], "": []}
        for codec in CODECS:
            for number in (0.1, math.inf, -0.0, 5e-324):
                given: dict[str, Any] = {
                    "number": number,
                    "whole": 2**63 - 1,
                    "data": bytes(range(256)),
                    "table": table,
                }
                assert tuple(self.there.post(on="values", codec=codec, **given)) == tuple(given.values())

    def unary_documents(self) -> None:
        tensor = Tensor(value=b"\1\2", dtype="uint8", shape=(2,))
        documents = [Text(value="Grüße, 你好"), Image(value=PNG), File(value=b"\0\xff"), tensor]
        page = Page(scan=Image(ref="a.png", value=PNG), caption=Text(value=""), words={"a": Text(value="b")})
        for codec in CODECS:
            assert self.there.post(on="documents", codec=codec, doc=documents) == documents
            assert self.there.post(on="page", codec=codec, doc=page) == page

    def a_client_without_the_class(self) -> None:
        with Executor.at(f"{self.url}/contract", trust=self.trust) as client:
            assert client.post(on="page", doc={"scan": Image(value=PNG)}).scan == Image(value=PNG)
            assert list(client.stream(on="count", number=3)) == [0, 1, 2]

    def metadata(self) -> None:
        found = self.there.post(on="who", metadata={"X-Token": "t 1", "x-of-a-later-version": "1"}, timeout=30)
        assert found["token"] == "t 1"

    def streams(self) -> None:
        for codec in CODECS:
            assert list(self.there.stream(on="count", codec=codec, number=ITEMS)) == list(range(ITEMS))
            assert self.there.stream(on="total", codec=codec, numbers=range(ITEMS)) == sum(range(ITEMS))
            found = list(self.there.stream(on="halves", codec=codec, numbers=range(ITEMS)))
            assert found == [number / 2 for number in range(ITEMS)]

    def a_stream_that_fails(self) -> None:
        found: list[float] = []
        try:
            found.extend(self.there.stream(on="halves", numbers=[2, 4, -1]))
        except NotFound as error:
            assert (found, error.message) == ([1.0, 2.0], "no halves below 0")
        else:
            raise AssertionError(f"no error came behind {found}")

    def a_stream_that_is_left(self) -> None:
        replies = self.there.stream(on="count", number=10**9)
        assert next(iter(replies)) == 0
        replies.close()
        assert self.there.post(on="abilities")

    def errors(self) -> None:
        typed = self.raised(NotFound, "fail", kind="typed")
        assert (typed.message, typed.details) == ("no such thing: é", {"n": [1, None]})
        full = self.raised(ResourceExhausted, "fail", kind="full")
        assert (full.details["reason"], float(full.details["retry_after"])) == ("load", 31.0)
        assert "secret" not in str(self.raised(Internal, "fail", kind="bug"))
        wrong = self.raised(InvalidArgument, "wait", seconds="many")
        assert wrong.details["errors"][0]["loc"] == ["seconds"]
        self.raised(NotFound, "nowhere")

    def what_is_not_known(self) -> None:
        """An argument is refused, a record's field is left out, a document's field is refused."""
        refused = self.raised(InvalidArgument, "wait", seconds=0.0, of_a_later_version=1)
        assert refused.details["errors"][0]["type"] == "extra_forbidden"
        with Other.at(f"{self.url}/contract", trust=self.trust) as other:
            assert other.post(on="order", order=LaterOrder(item="a", colour="blue")) == LaterOrder(item="a")
            assert other.post(on="grown") == Order(item="a")
        given = {"kind": "text", "value": "a", "of_a_later_version": 1}
        with Executor.at(f"{self.url}/contract", trust=self.trust) as client:
            try:
                client.post(on="documents", doc=[given])
            except InvalidArgument as error:
                assert "of_a_later_version" in str(error)
            else:
                raise AssertionError("a document had a field that nobody knows, and was taken")

    def content_by_ref(self) -> None:
        content = uuid.uuid4().bytes * (LARGE // 16)
        file = self.folder / "large.bin"
        file.write_bytes(content)
        for _ in range(2):  # the second time it is over there
            assert self.there.post(on="hash", doc=File(ref=str(file))) == sum(content)
        reply = self.there.post(on="bytes", size=LARGE)
        assert reply.read() == b"\7" * LARGE

    def idempotency_keys(self) -> None:
        self.both_have("idempotency keys")
        key = {"idempotency-key": str(uuid.uuid4())}
        first = self.there.post(on="buy", metadata=key)
        assert self.there.post(on="buy", metadata=key) == first
        other = {"idempotency-key": str(uuid.uuid4())}
        assert self.there.post(on="buy", metadata=other) == first + 1

    def calls_made_anew(self) -> None:
        """Where the server says when to come back; a client without retries is told the same."""
        if ABILITIES["retries"]:
            assert self.there.post(on="refused_once") == "taken"
        else:
            assert float(self.raised(ResourceExhausted, "refused_once").details["retry_after"]) == 0.1
            assert self.there.post(on="refused_once") == "taken"

    def deadlines(self) -> None:
        left = float(self.there.post(on="who", timeout=30)["left"])
        assert 20 < left <= 31, left
        began = time.monotonic()
        self.raised(DeadlineExceeded, "wait", seconds=60.0, timeout=0.5)
        assert 0.4 < time.monotonic() - began < 5
        assert self.there.post(on="has_ended")

    def cancelled_calls(self) -> None:
        async def leave() -> None:
            calling = asyncio.ensure_future(self.there.apost(on="wait", seconds=60.0))
            await asyncio.sleep(0.5)
            calling.cancel()
            await asyncio.wait([calling])

        asyncio.run(leave())
        assert self.there.post(on="has_ended")

    def batches(self) -> None:
        async def calls() -> list[Any]:
            with Executor.at(f"{self.url}/contract", trust=self.trust) as client:
                return await asyncio.gather(*(client.apost(on="squares", numbers=n) for n in range(AT_ONCE)))

        assert asyncio.run(calls()) == [number * number for number in range(AT_ONCE)]
        assert self.there.post(on="squares", numbers=[2, 3]) == [4, 9]
        assert 1 < self.there.post(on="largest_batch") <= FULL

    def a_flow(self) -> None:
        """Whose nodes are calls of the other version."""
        trusting: dict[str, Any] = {"trust": self.trust} if self.trust else {}
        flow = Flow()
        try:
            flow.add(f"{self.url}/contract/order", id="order", **trusting)
        except TypeError:
            raise LeftOutError("the client's Flow takes no trust=") from None
        with flow:
            answer = flow.post(order=Order(item="a", count=3))
        assert Order.model_validate(answer, from_attributes=True).count == 3


def checks() -> list[str]:
    return [name for name, found in vars(Checks).items() if not name.startswith("_") and name not in ("both_have", "raised")
            and callable(found)]  # fmt: skip


def run(scheme: str, name: str, check: Callable[[], None]) -> bool:
    line = f"{scheme:<6} {name.replace('_', ' '):<28}"
    try:
        check()
    except LeftOutError as reason:
        print(line, f"left out: {reason}", flush=True)
    except Exception:  # noqa: BLE001 - whatever it is, it is told, and the other checks are made
        print(line, f"FAILED\n{traceback.format_exc()}", flush=True)
        return False
    else:
        print(line, "ok", flush=True)
    return True


def main(url: str, trust: str, folder: Path) -> int:
    scheme = url.partition(":")[0]
    made = Checks(url, None if scheme in ("http", "grpc") else trust, folder)
    with made.there:
        held = [run(scheme, name, getattr(made, name)) for name in checks()]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
