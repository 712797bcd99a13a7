"""What the files of the tests name: classes and functions, as a user's module has them."""

from __future__ import annotations

import json
from functools import wraps
from os import system
from typing import Any

from xooai import ComboDoc, Executor, Text, post

__all__ = ["Counter", "Page", "Quiet", "Words", "glued", "json", "long", "system", "wrapped"]


class Page(ComboDoc):
    title: Text
    body: Text


class Words(Executor):
    """Words, cut and shouted."""

    def __init__(self, language: str = "en", sizes: Any = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.language, self.sizes = language, sizes

    @post
    def title(self, doc: Text) -> Text:
        return Text(value=doc.read().partition("\n")[0].upper())

    @post
    def clean(self, doc: Text, width: int = 20) -> Text:
        return Text(value=" ".join(doc.read().split())[:width])

    @post
    def page(self, page: Page) -> Text:
        return Text(value=f"{page.title.read()}: {page.body.read()}")

    class Inner(Executor):
        @post
        def echo(self, doc: Text) -> Text:
            return doc


class Counter(Executor):
    made = closed = 0

    def __init__(self) -> None:
        Counter.made += 1

    def close(self) -> None:
        Counter.closed += 1

    @post
    def load(self, doc: Text) -> Text:  # type: ignore[override]
        return doc


class Quiet:
    """No executor."""


def glued(title: Text, body: Text) -> Text:
    return Text(value=f"{title.read()}-{body.read()}")


def long(doc: Text) -> bool:
    return len(doc.read()) > 10


def _marked(function: Any) -> Any:
    @wraps(function)
    def marked(doc: Text) -> str:
        return f"<{function(doc)}>"

    return marked


@_marked
def wrapped(doc: Text) -> str:
    return doc.read()
