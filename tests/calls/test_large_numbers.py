"""Numbers that no float holds: refused, never read as infinite."""

from __future__ import annotations

import http.client
import json
import math
from decimal import Decimal
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
    def several(self, x: list[float]) -> list[float]:
        return x

    @post
    def exact(self, x: Decimal) -> str:
        return str(x)

    @post
    def some(self, x: Any) -> str:
        return repr(x)


def send(body: str, endpoint: str, content_type: str = "application/json") -> tuple[int, Any]:
    with Scorer() as scorer:
        connection = http.client.HTTPConnection(scorer.start(HERE)[0].removeprefix("http://"), timeout=20)
        try:
            connection.request("POST", f"/scorer/{endpoint}", body, {"content-type": content_type})
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


def send_form(endpoint: str, *texts: str) -> tuple[int, Any]:
    parts = [f'--edge\r\nContent-Disposition: form-data; name="x"\r\n\r\n{text}\r\n' for text in texts]
    return send("".join([*parts, "--edge--\r\n"]), endpoint, "multipart/form-data; boundary=edge")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1E+999", " 1e999", LONG])
@pytest.mark.parametrize(("endpoint", "before", "where"), [("one", [], ["x"]), ("several", ["1.5"], ["x", 1])])
def test_a_number_in_a_form_that_no_float_holds_is_refused(
    endpoint: str, before: list[str], where: list[str | int], number: str
) -> None:
    status, said = send_form(endpoint, *before, number)

    assert status in (400, 422)
    assert said["detail"] == f"{'.'.join(map(str, where))}: Input should be a finite number"


@pytest.mark.parametrize(
    ("endpoint", "texts", "reply"),
    [
        ("one", ["1e308"], 1e308),
        ("one", ["-Infinity"], "-Infinity"),
        ("one", ["inf"], "Infinity"),
        ("several", ["1.5", "NaN"], [1.5, "NaN"]),
        ("either", ["1e999"], "1e999"),
        ("exact", ["1e999"], "1E+999"),
    ],
)
def test_what_a_form_may_say_of_numbers_is_taken(endpoint: str, texts: list[str], reply: Any) -> None:
    assert send_form(endpoint, *texts) == (200, reply)


def test_infinity_still_travels_between_peers(codec: str) -> None:
    assert Scorer().post(on="combo", x=Scored(score=math.inf, scores=[-math.inf]), codec=codec).score == math.inf
