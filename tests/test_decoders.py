"""Decoding in another process: the same results as here, and a process that breaks takes nothing with it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from media_files import film, saved, tone
from xooai import Audio, Image, Video, media
from xooai.doc import mark_wire
from xooai.errors import FailedPrecondition, InvalidArgument, PluginError, ResourceExhausted
from xooai.media import apart, here
from xooai.media.apart import Apart
from xooai.media.exchange import Limits

numpy: Any = pytest.importorskip("numpy")
pillow: Any = pytest.importorskip("PIL.Image")
pytest.importorskip("soundfile")
av: Any = pytest.importorskip("av")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows decodes in the same process")

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory, /bin/false and /proc are Linux's")
PATIENCE = 30.0  # seconds for what comes at once on a machine that is not loaded


@pytest.fixture
def limits() -> Limits:
    return Limits(patience=PATIENCE, wait=PATIENCE)


@pytest.fixture
def decoder(limits: Limits) -> Iterator[Apart]:
    made = Apart(limits, works=2, films=2)
    yield made
    made.close()


def noise(mode: str = "RGB", size: tuple[int, int] = (37, 21)) -> Any:
    pixels = numpy.random.default_rng(1).integers(0, 256, (size[1], size[0], 4), dtype=numpy.uint8)
    return pillow.fromarray(pixels).convert("RGB").convert(mode)


def pictures() -> Iterator[bytes]:
    """Pictures of every format and mode, some with metadata, a palette, transparency, an orientation."""
    for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        yield saved(noise(), name)
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        yield saved(pillow.new("I;16", (5, 3), 40_000) if mode == "I;16" else noise(mode), "PNG")
    yield saved(noise("CMYK"), "JPEG")
    for mode in ("I", "F", "1", "P"):
        yield saved(noise(mode), "TIFF")
    yield saved(noise("P"), "PNG", transparency=3)
    yield saved(noise("P"), "PNG", transparency=bytes(range(256)))
    yield saved(noise("P"), "GIF", transparency=7, save_all=True, append_images=[noise("P").rotate(180)], loop=0)
    exif = pillow.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    for name in ("JPEG", "PNG", "WEBP"):
        yield saved(noise(), name, exif=exif, icc_profile=bytes(3000), dpi=(72, 72))
    yield saved(noise(size=(1, 1)), "PNG")
    yield saved(noise("L", (1200, 1000)), "PNG", compress_level=1)  # packed in several bands


def seen(image: Any) -> dict[str, Any]:
    """All that somebody may look at."""
    return {
        "mode": image.mode,
        "size": image.size,
        "format": image.format,
        "pixels": image.tobytes(),
        "palette": image.getpalette(),
        "exif": dict(image.getexif()) if image.format != "TIFF" else None,
        "converted": image.convert("RGBA").tobytes() if not image.mode.startswith(("I", "F")) else None,
        "info": image.info,
    }


def test_pictures_are_the_same_as_here(decoder: Apart) -> None:
    for data in pictures():
        assert seen(decoder.pil(data)) == seen(here.pil(data))
        if here.pil(data).mode in ("I", "F"):
            with pytest.raises(InvalidArgument, match="no range of its own"):
                decoder.image_array(data)
            continue
        array = decoder.image_array(data)
        assert (array.dtype, array.flags.writeable) == (numpy.uint8, True)
        assert numpy.array_equal(array, here.image_array(data))


def test_a_picture_can_be_worked_on(decoder: Apart) -> None:
    image = decoder.pil(saved(noise("P"), "GIF"))
    image.putpixel((0, 0), 5)
    assert image.getpixel((0, 0)) == 5
    assert saved(image.resize((4, 4)), "PNG")


@pytest.mark.slow
def test_the_largest_picture_comes_back_whole(decoder: Apart) -> None:
    image = pillow.new("L", (8192, 8192), 3)
    image.putpixel((8191, 8191), 200)
    found = decoder.pil(saved(image, "PNG", compress_level=1))
    assert found.tobytes() == image.tobytes()


def test_sound_is_the_same_as_here(decoder: Apart) -> None:
    for shape in ((0,), (1,), (7, 2), (50_000, 1)):
        data = media.encode_audio(numpy.random.default_rng(1).uniform(-1, 1, shape).astype(numpy.float32), 44_100)
        array, rate = decoder.audio(data)
        expected, _ = here.audio(data)
        assert (array.shape, array.dtype, rate) == (expected.shape, numpy.float32, 44_100)
        assert numpy.array_equal(array, expected)
        assert array.flags.writeable
        assert decoder.audio_rate(data) == 44_100


def test_frames_are_the_same_as_here(decoder: Apart, tmp_path: Path) -> None:
    data = film(av, "mp4", "mpeg4")
    expected = [frame.tolist() for frame in here.frames(data)]
    there = tmp_path / "film.mp4"
    there.write_bytes(data)
    with there.open("rb") as file:
        for source in (data, file):
            assert [frame.tolist() for frame in decoder.frames(source)] == expected
        assert not file.closed
    assert [frame.tolist() for frame in decoder.frames(data, step=2)] == expected[::2]


@pytest.mark.parametrize("size", [(2, 2), (50, 38), (98, 34)])
def test_frames_of_every_width_are_the_same_as_here(size: tuple[int, int], decoder: Apart) -> None:
    data = film(av, "mp4", "mpeg4", size)
    assert [frame.tolist() for frame in decoder.frames(data)] == [frame.tolist() for frame in here.frames(data)]


def test_films_that_are_read_side_by_side_do_not_mix(decoder: Apart) -> None:
    one, other = film(av, "mp4", "mpeg4", (64, 48)), film(av, "mp4", "mpeg4", (32, 16))
    pairs = zip(decoder.frames(one), decoder.frames(other), strict=True)
    assert [(a.shape, b.shape) for a, b in pairs] == [((48, 64, 3), (16, 32, 3))] * 5


def test_a_film_that_is_left_gives_its_process_back(decoder: Apart) -> None:
    data = film(av, "mp4", "mpeg4")
    pids: set[int] = set()
    for _ in range(5):
        frames = decoder.frames(data)
        next(frames)
        frames.close()  # type: ignore[attr-defined]
        pids.update(worker.pid for worker in decoder.films.idle)
    assert len(pids) == 1


def test_an_error_is_the_same_as_here(decoder: Apart) -> None:
    calls: list[Any] = [
        lambda of: of.pil(b"%PDF-1.7"),
        lambda of: of.image_array(saved(noise(), "PNG")[:300]),
        lambda of: of.audio(b"RIFF\xff\xff\xff\xffWAVE"),
        lambda of: of.audio_rate(b""),
        lambda of: of.pil(b"GIF89a"),
        lambda of: next(of.frames(b"RIFF\0\0\0\0AVI LIST")),
        lambda of: next(of.frames(b"")),
        lambda of: next(of.frames(b"", step=0)),
    ]
    for call in calls:
        errors = []
        for place in (here, decoder):
            with pytest.raises(InvalidArgument) as caught:
                call(place)
            errors.append((caught.value.message, caught.value.details, caught.value.remote))
        assert errors[0] == errors[1]
        assert " at 0x" not in errors[0][0]


# Which content is decoded where


def wire(doc: Any) -> Any:
    mark_wire(doc)
    return doc


def test_content_of_a_peer_is_decoded_in_another_process_and_ones_own_here() -> None:
    picture, sound = saved(noise(), "PNG"), media.encode_audio(tone(numpy), 8000)
    Image(value=picture).pil()
    Audio(value=sound).array()
    assert not apart.shared.works.idle
    assert wire(Image(value=picture)).array().tolist() == here.image_array(picture).tolist()
    assert wire(Image(value=picture)).pil().size == (37, 21)
    assert wire(Audio(value=sound)).rate == 8000
    assert wire(Audio(value=sound)).array().tolist() == here.audio(sound)[0].tolist()
    assert len(apart.shared.works.idle) == 1
    assert len(list(wire(Video(value=film(av, "mp4", "mpeg4"))).frames())) == 5
    assert len(apart.shared.films.idle) == 1


def test_one_setting_has_all_decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = saved(noise(), "PNG")
    monkeypatch.setenv("XOOAI_DECODE", "here")
    wire(Image(value=picture)).pil()
    assert not apart.shared.works.idle
    media.decode_in("process")  # goes before the environment
    try:
        wire(Image(value=picture)).pil()
        assert len(apart.shared.works.idle) == 1
    finally:
        media.decode_in(None)


def test_a_wrong_setting_names_the_right_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match="'there'; it is one of: process, here"):
        media.decode_in("there")  # type: ignore[arg-type]
    monkeypatch.setenv("XOOAI_DECODE", "there")
    with pytest.raises(InvalidArgument, match="XOOAI_DECODE is 'there'; it is one of: process, here"):
        wire(Image(value=saved(noise(), "PNG"))).pil()


# A library that breaks: soundfile is another one for the processes that are started


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a soundfile stands that the processes import."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "soundfile.py"


CRASH = "import os, signal; os.kill(os.getpid(), signal.{})"
LIE = """
import os, msgspec
told = msgspec.msgpack.encode({told})
os.write(0, len(told).to_bytes(4, "big") + told)
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (CRASH.format("SIGSEGV"), r"it crashed the decoder \(SIGSEGV\)"),
        (CRASH.format("SIGABRT"), r"it crashed the decoder \(SIGABRT\)"),
        ("import os; os._exit(3)", r"it crashed the decoder \(exit code 3\)"),
        ("import os; os.write(0, b'\\0\\0\\0\\5hello')", "its answer is not one"),
        ("import os; os.write(0, b'\\xff\\xff\\xff\\xff')", "its answer is not one"),
        (LIE.format(told={"shape": [2**40, 2], "rate": 8000}), "an array of 8,796,093,022,208 bytes"),
        (LIE.format(told={"shape": [-1, -1], "rate": 8000}), "gave no array"),
        (LIE.format(told={"shape": [10, 1], "rate": 8000}), "gave no content"),
    ],
)
def test_content_that_crashes_a_decoder_is_an_invalid_argument(
    code: str, words: str, library: Path, decoder: Apart
) -> None:
    library.write_text(code)
    with pytest.raises(InvalidArgument, match=words) as caught:
        decoder.audio(b"RIFF")
    assert caught.value.message.startswith("the audio does not decode: ")
    assert caught.value.details == {"reason": "media"}
    assert decoder.pil(saved(noise(), "PNG")).size == (37, 21)


@pytest.mark.parametrize(
    ("code", "given", "words"),
    [
        ("while True: pass", Limits(cpu=1), "takes too long to decode: the limit is 1 seconds of processor time"),
        ("import time; time.sleep(600)", Limits(patience=0.5), "takes too long to decode: the limit is 0.5 seconds"),
        pytest.param("bytearray(2**31)", Limits(memory=2**30), "more memory to decode than there is", marks=LINUX),
        (CRASH.format("SIGKILL"), Limits(), "ended by the system, as it does when memory runs out"),
    ],
)
def test_content_that_takes_too_much_exhausts_a_resource(code: str, given: Limits, words: str, library: Path) -> None:
    library.write_text(code)
    decoder = Apart(given, works=1, films=1)
    try:
        with pytest.raises(ResourceExhausted, match=words) as caught:
            decoder.audio(b"RIFF")
        assert caught.value.reason == "size"
    finally:
        decoder.close()


@LINUX
def test_content_that_takes_more_memory_than_there_may_be_exhausts_a_resource() -> None:
    """What the header says is within the limits, and the process goes on with what comes next."""
    picture = saved(pillow.new("RGB", (6000, 6000)), "PNG", compress_level=1)
    sound = media.encode_audio(numpy.zeros((20_000_000, 2), dtype=numpy.int16), 8000)
    decoder = Apart(Limits(memory=192 * 1024**2), works=1, films=1)
    try:
        for decode in (lambda: decoder.image_array(picture), lambda: decoder.audio(sound)):
            with pytest.raises(ResourceExhausted, match="takes more memory to decode than there is") as caught:
                decode()
            assert caught.value.reason == "size"
        assert decoder.pil(saved(noise(), "PNG")).size == (37, 21)
        assert len(decoder.works.idle) == 1
    finally:
        decoder.close()


def test_a_process_that_was_broken_before_does_not_judge_what_comes_after(decoder: Apart) -> None:
    """Content that is right decodes, in a new process, also where the one that had it first crashes."""
    data = saved(noise(), "PNG")
    decoder.pil(data)
    (worker,) = decoder.works.idle
    os.kill(worker.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(decoder.pil, data)
        while decoder.works.idle:  # until it is lent
            threading.Event().wait(0.001)
        os.kill(worker.pid, signal.SIGSEGV)
        os.kill(worker.pid, signal.SIGCONT)
        assert found.result(PATIENCE).tobytes() == here.pil(data).tobytes()
    assert worker.is_over()


def test_a_process_that_ended_while_it_was_idle_is_replaced(decoder: Apart) -> None:
    data = saved(noise(), "PNG")
    decoder.pil(data)
    (worker,) = decoder.works.idle
    os.kill(worker.pid, signal.SIGKILL)
    while not worker.is_over():
        threading.Event().wait(0.001)
    assert decoder.pil(data).size == (37, 21)
    assert [one.pid for one in decoder.works.idle] != [worker.pid]


def test_a_missing_library_names_the_extra(library: Path, decoder: Apart) -> None:
    library.write_text("raise ModuleNotFoundError(name='soundfile')")
    with pytest.raises(PluginError, match=r"Audio.array\(\) needs soundfile; try: pip install 'xooai\[media\]'"):
        decoder.audio(b"")


@LINUX
@pytest.mark.parametrize(("program", "words"), [("/no/such/python", "No such file"), ("/bin/false", "ended with 1")])
def test_a_process_that_does_not_start_says_what_else_there_is(
    program: str, words: str, decoder: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(FailedPrecondition, match=f"{words}.*XOOAI_DECODE=here"):
        decoder.pil(b"")


# Many at once, and the end


def test_many_threads_share_few_processes(decoder: Apart) -> None:
    data = saved(noise(), "PNG")
    expected = here.pil(data).tobytes()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: decoder.pil(data).tobytes(), range(64)))
    assert found == [expected] * 64
    assert 1 <= len(decoder.works.idle) <= 2


def test_who_waits_too_long_for_a_process_is_told_to_come_again() -> None:
    decoder = Apart(Limits(wait=0.1), works=1, films=1)
    data = film(av, "mp4", "mpeg4")
    try:
        first = decoder.frames(data)
        next(first)
        with pytest.raises(ResourceExhausted, match="all 1 processes that decode had work for 0.1 seconds") as caught:
            next(decoder.frames(data))
        assert (caught.value.reason, caught.value.retry_after) == ("load", 1.0)
        assert len(list(first)) == 4
        assert len(list(itertools.islice(decoder.frames(data), 2))) == 2
    finally:
        decoder.close()


def test_a_wait_that_is_interrupted_ends_its_process(library: Path, decoder: Apart) -> None:
    library.write_text("import time; time.sleep(600)")

    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(Interrupted):
            decoder.audio(b"RIFF")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not decoder.works.idle
    assert decoder.pil(saved(noise(), "PNG")).size == (37, 21)


PROGRAM = """
import io, os, signal, sys, warnings
from PIL import Image as pillow
from xooai import Image
from xooai.doc import mark_wire
from xooai.media import apart

warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: a process with threads forks
file = io.BytesIO()
pillow.new("L", (3, 2)).save(file, "PNG")

def decode():
    doc = Image(value=file.getvalue())
    mark_wire(doc)
    assert doc.pil().size == (3, 2)
    (worker,) = apart.shared.works.idle
    return worker.pid
"""
FORK = """
mine = decode()
child = os.fork()
if not child:
    signal.alarm(20)  # a child that hangs fails
    os._exit(0 if decode() not in (mine, None) else 1)
assert os.waitpid(child, 0)[1] == 0
assert decode() == mine
print(mine, flush=True)
"""
KILLED = """
print(decode(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def gone(pid: int) -> bool:
    """Whether a process that is no child of this one has ended, or does so soon."""
    waited = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        waited.wait(0.01)
    return False


@LINUX
@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("print(decode(), flush=True)", 0), (FORK, 0), (KILLED, -signal.SIGKILL)],
    ids=["ends", "forks", "is killed"],
)
def test_no_process_is_left_of_a_program_that(code: str, exit_code: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", PROGRAM + code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (exit_code, "")
    assert gone(int(done.stdout))
