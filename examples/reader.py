"""Reader: the text in a picture, by RapidOCR, whose models come inside its package.

Serve it, and post a picture from another terminal:

    python examples/reader.py
    curl --data-binary @examples/data/receipt.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8080/reader/read
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from xooai import ComboDoc, Executor, Image, InvalidArgument, Text, post

if TYPE_CHECKING:  # at run time only a Reader that reads needs these: Reader.at(url) does without
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

Score = Annotated[float, Field(ge=0, le=1)]

SLIVER = 100  # times as long as wide: RapidOCR shrinks a picture to 2000 pixels, and fails when less than 16 are left


class Line(BaseModel):
    """Text on one line: what it says, how sure the model is, and where it stands.

    `box` holds the four corners as (x, y) in pixels, clockwise from the beginning of the text's upper edge.
    """

    text: str
    score: Score
    box: list[tuple[int, int]]


class Page(ComboDoc):
    """All text of a picture: laid out as in the picture, and line by line."""

    text: Text
    lines: list[Line]


class Reader(Executor):
    """Reads the text in pictures.

    Text is looked for in a copy whose longer side has `side` pixels at most, and read in the picture itself. RapidOCR's
    own default looks at up to 2000 pixels and takes several times as long; small print on a large page needs that.
    """

    def __init__(self, side: int = 736, threads: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # From 1.29 on onnxruntime tells its maker about each model and machine, and keeps a number for this one.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        self.ocr = import_module("rapidocr").RapidOCR(
            params={
                "Global.log_level": "error",  # it warns of every picture without text
                "Global.text_score": 0.0,  # all callers share this one: read() applies each caller's own
                "Det.limit_type": "max",
                "Det.limit_side_len": side,
                # More threads than cores wait for each other; RapidOCR takes such a number for all cores.
                "EngineConfig.onnxruntime.intra_op_num_threads": min(threads, os.cpu_count() or 1),
            }
        )
        self.ocr(_word("ready"))  # each model is loaded when first used: now, rather than in the first caller's time

    @post
    def read(self, doc: Image, min_score: Score = 0.5) -> Page:
        """Return the text in a picture, without lines that the model is less sure of than `min_score`."""
        return _page(self.ocr(_picture(doc)), min_score)


def _word(text: str) -> Picture:
    """Draw a word, black on white."""
    font = import_module("PIL.ImageFont").load_default(32)
    picture: Picture = import_module("PIL.Image").new("RGB", (32 * len(text), 64), "white")
    import_module("PIL.ImageDraw").Draw(picture).text((16, 12), text, fill="black", font=font)
    return picture


def _picture(doc: Image) -> Picture | NDArray[np.uint8]:
    """Return the picture in a mode that RapidOCR knows: it takes a palette's numbers for grey, and CMYK for RGBA."""
    picture = doc.pil()
    if max(picture.size) > SLIVER * min(picture.size):
        wide, high = picture.size
        raise InvalidArgument(f"a picture of {wide} x {high} pixels is too narrow; at most {SLIVER} : 1 can be read")
    if picture.mode[0] in "IF":  # 16 or 32 bits a pixel: convert() would turn all that is above 255 white
        return doc.array()
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _page(found: Any, min_score: float) -> Page:
    """Make a Page of what RapidOCR found: boxes, texts and scores, all of them None where there is no text."""
    sure = [at for at, score in enumerate(found.scores or ()) if score >= min_score]
    if not sure:
        return Page(text=Text(value=""), lines=[])
    texts, scores = [found.txts[at] for at in sure], [found.scores[at] for at in sure]
    corners = [[(round(x), round(y)) for x, y in found.boxes[at].tolist()] for at in sure]
    layout = replace(found, boxes=found.boxes[sure], txts=texts, scores=scores).to_markdown()
    lines = [Line(text=text, score=score, box=box) for text, score, box in zip(texts, scores, corners, strict=True)]
    return Page(text=Text(value=layout), lines=lines)


if __name__ == "__main__":
    with Reader() as e:
        e.serve(*sys.argv[1:])
