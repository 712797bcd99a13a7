"""Numbers that no float holds: refused, never read as infinite."""

from __future__ import annotations

import http.client
import json
import math
from typing import Any

import pytest
from places import HERE
from pydantic import BaseModel

from xooai import ComboDoc, Executor, post


class Scored(ComboDoc):
    score: float
    scores: list[float | None] = []


class Plain(BaseModel):
    score: float


class Scorer(Executor):
    @post
    def one(self, x: float) -> float:
        return x

    @post
    def combo(self, x: Scored) -> Scored:
        return x

    @post
    def plain(self, x: Plain) -> Plain:
        return x

    @post
    def either(self, x: float | str) -> float | str:
        return x

    @post
    def some(self, x: Any) -> str:
        return repr(x)


def send(body: str, endpoint: str) -> tuple[int, Any]:
    with Scorer() as scorer:
        connection = http.client.HTTPConnection(scorer.start(HERE)[0].removeprefix("http://"), timeout=20)
        try:
            connection.request("POST", f"/scorer/{endpoint}", body, {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


LONG = "1" + "0" * 400


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1E+999", "1.5e400", f"{LONG}.0"])
@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("one", '{"x": %s}'),
        ("combo", '{"x": {"score": %s}}'),
        ("combo", '{"x": {"score": 1, "scores": ["NaN", null, %s]}}'),
        ("plain", '{"x": {"score": %s}}'),
        ("either", '{"x": %s}'),
        ("some", '{"x": %s}'),
        ("some", '{"x": {"a": ["NaN", %s]}}'),
    ],
)
def test_a_number_that_no_float_holds_is_refused(endpoint: str, body: str, number: str) -> None:
    status, said = send(body % number, endpoint)
    assert status in (400, 422)
    assert "number" in said["detail"]


@pytest.mark.parametrize(
    ("endpoint", "body", "reply"),
    [
        ("one", '{"x": 1e308}', 1e308),
        ("one", '{"x": 1e-999}', 0.0),
        ("one", '{"x": "Infinity"}', "Infinity"),
        (
            "combo",
            '{"x": {"score": "-Infinity", "scores": ["NaN", 1e3]}}',
            {"score": "-Infinity", "scores": ["NaN", 1e3]},
        ),
        ("either", '{"x": "1e999"}', "1e999"),
        ("some", '{"x": ["e999", 1.5]}', "['e999', 1.5]"),
    ],
)
def test_what_a_float_holds_and_what_is_called_infinite_are_taken(endpoint: str, body: str, reply: Any) -> None:
    assert send(body, endpoint) == (200, reply)


def test_infinity_still_travels_between_peers(codec: str) -> None:
    assert Scorer().post(on="combo", x=Scored(score=math.inf, scores=[-math.inf]), codec=codec).score == math.inf
