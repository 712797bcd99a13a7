"""Album: three executors and a Flow of them that makes a card of a picture: small, and framed in its own colours.

In one process, or with each executor where the command line or a file says; the program stays as it is:

    python examples/album.py examples/data/receipt.jpg
    python examples/album.py examples/data/receipt.jpg shrinker=http://127.0.0.1:8081 painter=grpc://127.0.0.1:8082
    python examples/album.py examples/data/receipt.jpg examples/album.yaml

A server of one of them, in the folder of this file: xooai serve album:Shrinker --url http://127.0.0.1:8081
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel

from xooai import ComboDoc, Executor, Flow, Image, XooaiError, post
from xooai.signature import sign


class Colour(BaseModel):
    """A colour, as `#rrggbb`, and how much of the picture has it, from 0 to 1."""

    name: str
    share: float


class Card(ComboDoc):
    """A framed picture, and the colours of its frame, the most frequent first."""

    picture: Image
    colours: list[Colour]


class Shrinker(Executor):
    @post
    def shrink(self, doc: Image, side: int = 160) -> Image:
        """Return the picture, its longer side `side` pixels at most."""
        picture = doc.pil().convert("RGB")
        picture.thumbnail((side, side))
        return Image(value=picture)


class Painter(Executor):
    @post
    def colours(self, doc: Image, count: int = 4) -> list[Colour]:
        """Return the `count` colours that are nearest to all of the picture."""
        picture = doc.pil().convert("RGB").quantize(count)
        palette, found = picture.getpalette() or [], sorted(picture.getcolors() or [], reverse=True)
        pixels = picture.width * picture.height
        names = ["#{:02x}{:02x}{:02x}".format(*palette[3 * at : 3 * at + 3]) for _, at in found if isinstance(at, int)]
        return [Colour(name=name, share=number / pixels) for name, (number, _) in zip(names, found, strict=True)]


class Framer(Executor):
    @post
    def frame(self, small: Image, colours: list[Colour], wide: int = 4) -> Card:
        """Draw frames around the picture, each `wide` pixels, the most frequent colour innermost."""
        picture, operations = small.pil(), import_module("PIL.ImageOps")
        for colour in colours:
            picture = operations.expand(picture, border=wide, fill=colour.name)
        return Card(picture=Image(value=picture), colours=colours)


def album(places: Mapping[str, str] | None = None) -> Flow:
    """The Flow. `places` has the URLs of servers, by the executors' names; who is not in it is made in this process."""
    there = {name: f"{url}/{name}" for name, url in (places or {}).items()}
    f = Flow(name="album")
    f.add(use=there.get("shrinker", Shrinker), on="shrink", id="small")
    f.add(use=there.get("painter", Painter), on="colours", id="colours")
    return f.add(use=there.get("framer", Framer), on="frame", id="card", needs=("small", "colours"))


def configured(words: Sequence[str]) -> Flow:
    """The Flow of the command line: of a file, or with the places that are named."""
    if len(words) == 1 and words[0].endswith(".yaml"):
        return Flow.load(words[0], modules=["album"])
    return album(dict(word.split("=", 1) for word in words))


def main(picture: str, *words: str) -> None:
    """Print the card of a picture."""
    with configured(words) as f:
        print(f, file=sys.stderr)
        card: Card = f.post(doc=Image(ref=picture))  # or what a server's description says of a Card, of the same fields
    content = card.picture.read()
    told = {"bytes": len(content), "signature": sign(content), "colours": [one.model_dump() for one in card.colours]}
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(f"usage: {Path(sys.argv[0]).name} PICTURE [FILE.yaml | EXECUTOR=URL ...]")
    try:
        main(*sys.argv[1:])
    except (XooaiError, OSError) as error:
        raise SystemExit(f"album: {error}") from None
