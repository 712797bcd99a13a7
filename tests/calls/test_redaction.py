"""What is secret is in no text that is written down, whatever stands around it."""

from __future__ import annotations

import logging
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xooai.log import LONGEST, message_of, shown, traceback_of

FORMS = [
    "Authorization: Bearer {}",
    "authorization: Token {}",
    "proxy-authorization: {}",
    "{{'authorization': 'Basic {}'}}",
    "[(b'authorization', b'Bearer {}')]",
    '{{"Authorization": "Bearer {}"}}',
    "Bearer {}",
    "cookie: theme=dark; session={}; other=1",
    "api_key={}",
    "x-api-key: {}",
    'apikey="{} and more"',
    "password='{}'",
    'password="two {} words"',
    "passwd = {}",
    "token={}",
    "access_token={}&x=1",
    "aws_secret_access_key={}",
    "{{'key': 'name', 'secret': '{}'}}",
    "{{'key': '{}', 'endpoint_url': 'http://host'}}",
    "AccountName=a;AccountKey={};EndpointSuffix=core",
    "sas_token='{}'",
    "client_secret: {}",
    "https://me:{}@host/path",
    "https://{}@host/path",
    "s3://key:{}@bucket/path",
    "https://host/a?X-Amz-Signature={}&x=1",
    "https://host/a?sig={}",
    "https://host/a?token={}#x",
    "X-Amz-Credential={}",
    "X-Amz-Security-Token: {}",
    "X-Goog-Signature={}",
    "xo_4f1c_{}",
    "store options {{'secret': '{}', 'anon': False}}",
]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
WORD = st.text(LETTERS, min_size=5, max_size=30).map("hunter2{}".format)
AROUND = st.text(max_size=30).filter(lambda text: "hunter2" not in text)


def said(text: str) -> str:
    return message_of(logging.makeLogRecord({"msg": text}))


@pytest.mark.parametrize("form", FORMS, ids=range(len(FORMS)))
@settings(max_examples=20)
@given(secret=WORD, before=AROUND, after=AROUND)
def test_a_secret_is_left_out(form: str, secret: str, before: str, after: str) -> None:
    assert "hunter2" not in said(f"{before} {form.format(secret)} {after}")


@pytest.mark.parametrize("form", [one for one in FORMS if "://" in one], ids=range(7))
@pytest.mark.parametrize("at", range(-40, 41, 8), ids=str)
def test_a_secret_is_left_out_where_a_text_is_cut(form: str, at: int) -> None:
    text = form.format("hunter2hunter2")
    for longest in (LONGEST, 4 * LONGEST):
        padding = "x " * ((longest - at) // 2)
        assert "hunter2" not in said(padding + text + " y" * LONGEST)


@given(st.text(max_size=3 * LONGEST))
def test_a_message_is_one_printable_line(text: str) -> None:
    found = said(text)
    assert len(found.splitlines()) <= 1
    assert found.isprintable() or not set(found) & set("\x00\x07\x08\x1b\x7f\x85\x9b\r\n\u2028\u2029\u202e\u2066")
    assert not any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 for letter in found)


@given(st.text(max_size=700))
def test_what_a_client_says_is_no_longer_than_it_may_be(text: str) -> None:
    assert len(shown(text, 200)) <= 203 * len("\\U0001f600")


SLOW = pytest.mark.parametrize(
    "text",
    [
        "a" * 2**20,
        "a+" * 2**19,
        "token" * 2**18,
        "x:" * 2**19,
        "https://" * 2**17,
        "-" * 2**20,
        "'key'" * 2**17,
        "Bearer " * 2**17,
    ],
    ids=range(8),
)


@SLOW
def test_a_megabyte_that_is_made_up_to_be_slow_is_searched_soon(text: str) -> None:
    began = time.process_time()
    said(text)
    assert time.process_time() - began < 0.5


@SLOW
def test_an_error_with_such_a_megabyte_is_written_down_soon(text: str) -> None:
    try:
        raise ValueError(f"could not convert {text!r}")
    except ValueError as error:
        record = logging.makeLogRecord({"exc_info": (ValueError, error, error.__traceback__)})
    began = time.process_time()
    traceback_of(record)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("before", ["", "x" * 100, "1", "-+.", "a.b-" * 50], ids=range(5))
def test_a_url_is_found_behind_whatever_stands_before_it(before: str) -> None:
    assert "hunter2" not in said(f"{before}postgresql+psycopg://me:hunter2@host/path")


def test_what_is_no_secret_stays() -> None:
    text = "reader/read took 12.5 ms; tokens: 12 of 4096; key 'lang' is unknown; see http://host:8080/docs"
    assert said(text).startswith("reader/read took 12.5 ms;")
    assert "key 'lang' is unknown; see http://host:8080/docs" in said(text)


def test_half_a_character_is_escaped() -> None:
    assert shown("a\ud800b", 50) == "a\\ud800b"
