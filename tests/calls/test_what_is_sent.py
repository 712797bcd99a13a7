"""What may be sent has limits, and they are the same for both ways and wherever the handler runs."""

from __future__ import annotations

import http.client
import json
import logging
from typing import Any

import pytest
from places import HERE, Place

from xooai import ComboDoc, Executor, File, Image, Internal, InvalidArgument, ResourceExhausted, Text, post
from xooai.driver import MESSAGE_LIMIT
from xooai.screen import DEPTH_LIMIT, NODE_LIMIT


class Tree(ComboDoc):
    leaf: Text | None = None
    inner: Tree | None = None


class Giver(Executor):
    @post
    def content(self, size: int) -> bytes:
        return bytes(size)

    @post
    def picture(self, size: int) -> Image:
        return Image(value=bytes(size))

    @post
    async def texts(self, count: int) -> list[str]:
        return ["a"] * count

    @post
    def nested(self, depth: int) -> list[Any]:
        return list(nest(depth))

    @post
    def untyped(self, depth: int):  # type: ignore[no-untyped-def]
        return nest(depth)

    @post
    def tree(self, depth: int) -> Tree:
        return grow(depth)

    @post
    def take_tree(self, tree: Tree) -> int:
        return 1

    @post
    def take_content(self, doc: File) -> int:
        return len(doc.read())

    @post
    def take_texts(self, texts: list[str]) -> int:
        return len(texts)

    @post
    def take_any(self, value: Any) -> int:
        return 1


def nest(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def grow(depth: int) -> Tree:
    tree = Tree(leaf=None)
    for _ in range(depth - 1):
        tree = Tree(inner=tree)
    return tree


def test_a_reply_above_the_limit_of_a_message_is_refused_where_it_is_sent(place: Place, codec: str) -> None:
    with pytest.raises(ResourceExhausted, match=f"the limit is {MESSAGE_LIMIT:,} bytes") as caught:
        place(Giver()).post("content", size=MESSAGE_LIMIT + 1, codec=codec)
    assert caught.value.details["reason"] == "size"
    assert "reply" in caught.value.message


def test_an_argument_above_the_limit_of_a_message_goes_beside_it_to_others_and_is_refused_here(
    place: Place, codec: str
) -> None:
    caller, doc = place(Giver()), File(value=bytes(MESSAGE_LIMIT + 1))
    if place.is_remote:
        assert caller.post("take_content", doc=doc, codec=codec) == MESSAGE_LIMIT + 1
        return
    with pytest.raises(ResourceExhausted, match=f"the limit is {MESSAGE_LIMIT:,} bytes") as caught:
        caller.post("take_content", doc=doc, codec=codec)
    assert caught.value.details["reason"] == "size"


def test_a_picture_above_the_limit_is_refused_as_it_is_too() -> None:
    with Giver() as giver:
        address = giver.start(HERE)[0].removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=20)
        try:
            body = json.dumps({"size": MESSAGE_LIMIT + 1})
            connection.request(
                "POST", "/giver/picture", body, {"content-type": "application/json", "accept": "image/*"}
            )
            response = connection.getresponse()
            said = json.loads(response.read())
        finally:
            connection.close()
    assert response.status == 413
    assert f"the limit is {MESSAGE_LIMIT:,} bytes" in said["detail"]


def test_a_reply_of_too_many_values_is_refused_where_it_is_sent(place: Place, codec: str) -> None:
    with pytest.raises(ResourceExhausted, match=f"more than {NODE_LIMIT:,} values") as caught:
        place(Giver()).post("texts", count=NODE_LIMIT + 100_000, codec=codec)
    assert caught.value.details["reason"] == "size"


def test_an_argument_of_too_many_values_is_refused_before_it_is_sent(place: Place, codec: str) -> None:
    with pytest.raises(InvalidArgument, match=f"more than {NODE_LIMIT:,} values") as caught:
        place(Giver()).post("take_texts", texts=["a"] * (NODE_LIMIT + 100_000), codec=codec)
    assert not caught.value.remote


@pytest.mark.parametrize("endpoint", ["nested", "untyped", "tree"])
def test_a_reply_that_is_nested_too_deep_is_refused_where_it_is_sent(
    endpoint: str, place: Place, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    giver = place(Giver())
    with (
        caplog.at_level(logging.CRITICAL),
        pytest.raises(Internal, match=f"the reply is nested more than {DEPTH_LIMIT} levels deep"),
    ):
        giver.post(endpoint, depth=DEPTH_LIMIT + 1, codec=codec)
    assert giver.post(endpoint, depth=DEPTH_LIMIT, codec=codec)


def test_an_argument_that_is_nested_too_deep_is_refused_before_it_is_sent(place: Place, codec: str) -> None:
    giver = place(Giver())
    for endpoint, given in (
        ("take_any", {"value": nest(DEPTH_LIMIT)}),
        ("take_tree", {"tree": grow(DEPTH_LIMIT)}),
    ):
        with pytest.raises(InvalidArgument, match=f"more than {DEPTH_LIMIT} levels deep") as caught:
            giver.post(endpoint, codec=codec, **given)
        assert not caught.value.remote
    assert giver.post("take_any", value=nest(DEPTH_LIMIT - 1), codec=codec) == 1
