"""Sheet: a Flow that reads a picture, tells the language of its text, and makes a small picture at the same time.

    python examples/sheet.py examples/data/receipt.jpg
    python examples/sheet.py examples/data/receipt.jpg http://127.0.0.1:8080/reader

With a URL the text is read by a server of examples/reader.py; the rest is done in this process.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from album import Shrinker
from reader import Page, Reader, Score
from xooai import ComboDoc, Executor, Flow, Image, Text, XooaiError, post


class Language(BaseModel):
    """The language of a text by its code of ISO 639, such as `en`, and how sure the model is, from 0 to 1."""

    code: str
    score: Score


class Sheet(ComboDoc):
    """All that the Flow finds out about a picture."""

    text: Text
    language: Language
    small: Image


class Linguist(Executor):
    """Tells languages apart, by py3langid, whose model comes inside its package."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        langid = import_module("py3langid.langid")
        self.identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)

    @post
    def language(self, doc: Text) -> Language:
        """Return the language of a text, of the 140 that it knows."""
        code, score = self.identifier.classify(doc.read())
        return Language(code=code, score=min(score, 1.0))


def text(page: Page) -> Text:
    """The text of a page."""
    return page.text


def bound(text: Text, language: Language, small: Image) -> Sheet:
    """Join what the branches found."""
    return Sheet(text=text, language=language, small=small)


def sheet(reader: str | type[Reader] = Reader) -> Flow:
    """The Flow, whose pages are read by `reader`: a class, which is made in this process, or the URL of a server of it."""
    f = Flow(name="sheet")
    f.add(use=reader, on="read", id="page")
    f.add(use=text, id="text", needs="page")
    f.add(use=Linguist, on="language", id="language", needs="text")
    f.add(use=Shrinker, on="shrink", id="small")
    return f.add(use=bound, id="bound", needs=("text", "language", "small"))


def main(picture: str, *reader: str) -> None:
    """Print what is on a picture, and what the nodes of the Flow did when."""
    with sheet(*reader) as f:
        ran = f.run(doc=Image(ref=picture))
    found: Sheet = ran.result
    print(f"{found.text.read()}\n\nlanguage: {found.language.code} ({found.language.score:.2f})")
    print(f"small: {found.small.pil().size}\n\n{f}\n\n{ran.trace}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(f"usage: {Path(sys.argv[0]).name} PICTURE [URL OF A READER]")
    try:
        main(*sys.argv[1:])
    except (XooaiError, OSError) as error:
        raise SystemExit(f"sheet: {error}") from None
