"""Search: the passages of a folder's texts that fit a question best, by three executors and two Flows of them.

    python examples/search.py docs "how does a client trust a certificate?"

Passages are found by vectors, of scikit-learn (TF-IDF, of which the strongest 128 directions are kept) in an index of
usearch, and then ordered anew by the words and pairs of words that they have in common with the question.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import BaseModel

from xooai import ComboDoc, Executor, Flow, Tensor, Text, XooaiError, post

DIMENSIONS = 128  # of a vector; a folder of fewer passages has fewer
CANDIDATES = 20  # passages that are found by their vectors, of which the best are shown


class Passage(ComboDoc):
    """A paragraph, and the file that it is of."""

    source: str
    text: Text


class Hit(BaseModel):
    """A passage that was found, and how much it has in common with the question, from 0 to 1."""

    source: str
    text: str
    score: float


def passages(folder: str) -> list[Passage]:
    """Return the paragraphs of all texts below a folder."""
    files = sorted(file for file in Path(folder).rglob("*") if file.suffix in {".md", ".txt", ".rst"})
    pairs = [(file.relative_to(folder).as_posix(), part) for file in files for part in file.read_text().split("\n\n")]
    return [Passage(source=source, text=Text(value=part.strip())) for source, part in pairs if part.strip()]


class Embedder(Executor):
    """Makes vectors of texts, by the words of the texts that it was made with."""

    def __init__(self, texts: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        words = import_module("sklearn.feature_extraction.text").TfidfVectorizer(
            sublinear_tf=True, stop_words="english"
        )
        size = min(DIMENSIONS, len(texts) - 1, len(words.fit(texts).vocabulary_) - 1)
        reduced = import_module("sklearn.decomposition").TruncatedSVD(size, random_state=0)
        self.model = import_module("sklearn.pipeline").make_pipeline(words, reduced).fit(texts)

    @post
    def embed(self, doc: Text) -> Tensor:
        """Return the vector of a text: float32."""
        return Tensor(value=self.model.transform([doc.read()])[0].astype("float32"))


class Index(Executor):
    """Keeps passages, and finds those whose vectors point the same way as another."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.index: Any = None
        self.kept: list[Passage] = []
        self.turn = Lock()  # a passage's number is its place in the list

    @post
    def add(self, passages: list[Passage], vectors: list[Tensor]) -> int:
        """Keep passages with their vectors; return how many there are now."""
        numpy = import_module("numpy")
        rows = numpy.stack([vector.array() for vector in vectors])
        with self.turn:
            if self.index is None:
                self.index = import_module("usearch.index").Index(ndim=rows.shape[1], metric="cos")
            self.index.add(numpy.arange(len(self.kept), len(self.kept) + len(rows)), rows)
            self.kept.extend(passages)
            return len(self.kept)

    @post
    def near(self, vector: Tensor, count: int = CANDIDATES) -> list[Passage]:
        """Return the passages whose vectors are nearest, the nearest first."""
        with self.turn:
            return [self.kept[key] for key in self.index.search(vector.array(), count).keys.tolist()]


class Ranker(Executor):
    """Orders passages by what they have in common with a question."""

    @post
    def rank(self, input: Text, near: list[Passage], count: int = 3) -> list[Hit]:
        """Return the best `count` for a question, with their scores."""
        text = import_module("sklearn.feature_extraction.text")
        rows = text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, stop_words="english").fit_transform(
            [input.read(), *(passage.text.read() for passage in near)]
        )
        scores = (rows[1:] @ rows[0].T).toarray()[:, 0].tolist()
        ranked = sorted(zip(scores, near, strict=True), key=lambda pair: -pair[0])
        return [Hit(source=one.source, text=one.text.read(), score=score) for score, one in ranked[:count]]


def texts(passages: list[Passage]) -> list[Text]:
    """Return what the passages say."""
    return [passage.text for passage in passages]


def filling(embedder: Embedder, index: Index) -> Flow:
    """The Flow that keeps the passages of a folder, each of which has its vector made."""
    f = Flow(name="filling")
    f.add(use=passages, id="passages")
    f.add(use=texts, id="texts", needs="passages")
    f.add(use=embedder, id="vectors", needs="texts", each=True)
    return f.add(use=index, on="add", id="kept", needs=("passages", "vectors"))


def searching(embedder: Embedder, index: Index) -> Flow:
    """The Flow that answers a question."""
    f = Flow(name="searching")
    f.add(use=embedder, id="vector")
    f.add(use=index, on="near", id="near", needs="vector")
    return f.add(use=Ranker, id="hits", needs=("input", "near"))


def main(folder: str, question: str) -> None:
    """Print the passages of a folder's texts that fit a question best."""
    known = [text.read() for text in texts(passages(folder))]
    if len(known) < 2:
        raise SystemExit(f"search: {folder} has {len(known)} paragraphs in .md, .txt and .rst files; two are needed")
    with Embedder(known) as embedder, Index() as index:
        fill, search = filling(embedder, index), searching(embedder, index)
        with fill, search:
            print(f"{fill.post(folder=folder)} passages\n")
            ran = search.run(doc=Text(value=question))
    for hit in ran.result:
        print(f"{hit.score:.2f}  {hit.source}\n\n{hit.text}\n")
    print(f"{search}\n\n{ran.trace}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: {Path(sys.argv[0]).name} FOLDER QUESTION")
    try:
        main(*sys.argv[1:])
    except (XooaiError, OSError) as error:
        raise SystemExit(f"search: {error}") from None
