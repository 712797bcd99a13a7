"""Listener: the words in English speech, by PocketSphinx, whose model comes inside its package.

Serve it, and post a sound from another terminal:

    python examples/listener.py
    curl --data-binary @examples/data/sentence.wav -H 'Content-Type: audio/wav' http://127.0.0.1:8080/listener/listen
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from io import BytesIO
from threading import Lock
from typing import Any

from xooai import Audio, Executor, Text, post

RATE = 16_000  # Hz: what the model was trained on

PIECE = RATE // 10 * 2  # bytes of a tenth of a second: PocketSphinx holds the interpreter's lock for a piece at a time

SILENCE = bytes(RATE)  # half a second: Segmenter keeps the last words to itself until it hears that they are over


class Listener(Executor):
    """Writes down what is said in English, one utterance at a time."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sphinx = import_module("pocketsphinx")
        self.decoder = self.sphinx.Decoder(samprate=RATE, loglevel="FATAL")
        self.fresh = self.decoder.get_cmn()
        self.turn = Lock()  # a decoder is in the middle of one utterance

    @post
    def listen(self, doc: Audio) -> Text:
        """Return the words that are spoken, a line for each stretch of speech between pauses."""
        sound = _sound(doc)
        with self.turn:
            self.decoder.set_cmn(self.fresh)  # it adapts to a voice: forget the last caller's
            return Text(value="\n".join(self._lines(sound)))

    def _lines(self, sound: bytes) -> Iterator[str]:
        for stretch in self.sphinx.Segmenter(sample_rate=RATE).segment(BytesIO(sound + SILENCE)):
            self.decoder.start_utt()
            for at in range(0, len(stretch.pcm), PIECE):
                self.decoder.process_raw(stretch.pcm[at : at + PIECE])
            self.decoder.end_utt()
            if heard := self.decoder.hyp():
                yield heard.hypstr


def _sound(doc: Audio) -> bytes:
    """Return the sound as 16-bit samples of one channel at `RATE`."""
    one = doc.array().mean(axis=1)
    samples = import_module("soxr").resample(one, doc.rate, RATE)
    whole: bytes = (samples * 32767).clip(-32768, 32767).astype("<i2").tobytes()
    return whole


if __name__ == "__main__":
    with Listener() as e:
        e.serve(*sys.argv[1:])
