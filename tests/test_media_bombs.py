"""Small files that would fill a machine, or break what decodes them: refused by their headers, here and in another process."""

from __future__ import annotations

import io
import itertools
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media_files import box, broken, chunk, film, png, saved, tone
from xooai import Executor, Image, media, post
from xooai.doc import mark_wire
from xooai.errors import Internal, InvalidArgument, ResourceExhausted
from xooai.media import here, image, sound
from xooai.media.apart import Apart
from xooai.media.exchange import Limits

numpy: Any = pytest.importorskip("numpy")
pillow: Any = pytest.importorskip("PIL.Image")
soundfile: Any = pytest.importorskip("soundfile")
av: Any = pytest.importorskip("av")

ELSEWHERE = pytest.mark.skipif(sys.platform == "win32", reason="Windows decodes in the same process")
LARGE = 17 * 1024 * 1024  # bytes: above what a picture may carry beside its pixels


@pytest.fixture(scope="module", autouse=True)
def processes() -> Iterator[Apart]:
    """Two processes that stay for all tests of this module: none of these files ends one."""
    made = Apart(Limits(memory=1024**3, cpu=20), works=1, films=1)
    if sys.platform == "win32":
        yield made
        return
    made.audio_rate(media.encode_audio(tone(numpy), 8000))
    list(made.frames(film(av, "mp4", "mpeg4")))
    before = [worker.pid for pool in (made.works, made.films) for worker in pool.idle]
    yield made
    assert [worker.pid for pool in (made.works, made.films) for worker in pool.idle] == before
    made.close()


@pytest.fixture(params=["here", pytest.param("process", marks=ELSEWHERE)])
def decoder(request: pytest.FixtureRequest) -> media.Decoder:
    return here if request.param == "here" else request.getfixturevalue("processes")


# Pictures


def zeros(count: int) -> bytes:
    """`count` zeros as zlib would pack them, without packing more than a million."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    million = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    rest = packer.compress(bytes(count % 1_000_000)) + packer.flush()
    checksum = struct.pack(">I", (count % 65_521) << 16 | 1)
    return b"\x78\xda" + million * (count // 1_000_000) + rest + checksum


def png_of_zeros(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zeros((width + 1) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def gif(frames: int, size: tuple[int, int] = (2, 2)) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", *size, 0x80, 0, 0) + bytes(3) + b"\xff" * 3
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 2, 2, 0) + b"\x02\x03\x84\x8f\x05\0"
    return head + frame * frames + b";"


def tiff_with(tag: int, kind: int, content: bytes) -> bytes:
    """A grey TIFF of 2 x 2 pixels, and a tag with `content`."""
    count = len(content) // {1: 1, 3: 2, 7: 1}[kind]
    tags = [(256, 4, 1, 2), (257, 4, 1, 2), (258, 4, 1, 8), (259, 4, 1, 1), (262, 4, 1, 1), (277, 4, 1, 1)]
    end = 8 + 2 + 12 * 9 + 4
    tags += [(273, 4, 1, end), (279, 4, 1, 4), (tag, kind, count, end + 4)]
    entries = b"".join(struct.pack("<HHII", *entry) for entry in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + bytes(4) + content


def test_a_picture_of_60_000_by_60_000_is_a_few_megabytes_and_refused(decoder: media.Decoder) -> None:
    data = png_of_zeros(60_000, 60_000)
    assert len(data) < 5_000_000
    for decode in (decoder.pil, decoder.image_array):
        with pytest.raises(
            ResourceExhausted, match="the image has 3,600,000,000 pixels, the limit is 67,108,864"
        ) as caught:
            decode(data)
        assert caught.value.reason == "size"
    assert decoder.image_array(png_of_zeros(600, 600)).shape == (600, 600, 3)  # what makes it makes sound ones too


def test_of_a_hundred_thousand_pictures_in_a_file_the_first_is_decoded(decoder: media.Decoder) -> None:
    assert decoder.pil(gif(100_000)).tobytes() == decoder.pil(gif(1)).tobytes()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(2, 2, bytes(6), chunk(b"zTXt", b"Comment\0\0" + zeros(50_000_000))), id="zTXt"),
        pytest.param(png(2, 2, bytes(6), chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(50_000_000))), id="iTXt"),
        pytest.param(png(2, 2, bytes(6), chunk(b"iCCP", b"Profile\0\0" + zeros(50_000_000))), id="iCCP"),
        pytest.param(
            png(2, 2, bytes(6), *(chunk(b"zTXt", b"%d\0\0" % key + zeros(1_000_000)) for key in range(80))),
            id="eighty-texts",
        ),
        pytest.param(png(2, 2, bytes(6), chunk(b"eXIf", bytes(LARGE))), id="eXIf"),
        pytest.param(tiff_with(34675, 7, bytes(LARGE)), id="ICC-in-a-TIFF"),
    ],
)
def test_metadata_that_unpacks_to_megabytes_is_refused(data: bytes, decoder: media.Decoder) -> None:
    with pytest.raises((InvalidArgument, ResourceExhausted), match=r"(?i)too (large|much)|the limit is|limit"):
        decoder.pil(data)


def test_metadata_up_to_the_limit_is_given(decoder: media.Decoder) -> None:
    profile = bytes(4 * 1024 * 1024)
    assert len(profile) < image.METADATA
    assert decoder.pil(tiff_with(34675, 7, profile)).info["icc_profile"] == profile
    assert decoder.pil(saved(pillow.new("L", (2, 2)), "JPEG", icc_profile=profile)).info["icc_profile"] == profile


DISGUISED = {
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n": "of no known format; there are: PNG, JPEG",
    b"\xc5\xd0\xd3\xc6" + bytes(100): "of no known format",  # EPS with a preview
    b"8BPS\0\x01" + bytes(100): "of no known format",
    b"SIMPLE  =                    T" + bytes(100): "of no known format",  # FITS
    b"%PDF-1.7\n": "it is application/pdf",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>": "of no known format",
    box(b"heic"): "it is image/heic",
    b"\x89PNG\r\n\x1a\n%!PS-Adobe-3.0 EPSF-3.0": "does not decode",
}


def test_what_a_peer_calls_a_picture_is_judged_by_its_first_bytes() -> None:
    for data, words in DISGUISED.items():
        doc = Image(value=data, media_type="image/png")
        mark_wire(doc)
        with pytest.raises(InvalidArgument, match=words) as caught:
            doc.pil()
        assert caught.value.details == {"reason": "media"}


def test_a_tiff_that_is_called_a_png_is_decoded_as_what_it_is() -> None:
    doc = Image(value=saved(pillow.new("L", (3, 2), 7), "TIFF"), media_type="image/png")
    mark_wire(doc)
    assert doc.pil().format == "TIFF"


# Sound


def wav(*, size: int = 8, channels: int = 1, rate: int = 8000, bits: int = 16) -> bytes:
    """A WAV of four samples, whose header says what it likes."""
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 % 2**32, 2, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size) + bytes(8)
    return b"RIFF" + struct.pack("<I", min(size + 36, 2**32 - 1)) + body


def flac_that_says(frames: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(numpy), 16_000, format="FLAC")
    data = bytearray(file.getvalue())
    data[21:26] = bytes([data[21] & 0xF0 | frames >> 32]) + struct.pack(">I", frames % 2**32)  # RFC 9639, 8.2
    return bytes(data)


def ogg_that_says(frames: int, subtype: str = "VORBIS") -> bytes:
    """A sound of a quarter of a second whose last page says where it ends: RFC 3533, 6."""
    file = io.BytesIO()
    soundfile.write(file, tone(numpy), 16_000, format="OGG", subtype=subtype)
    data = file.getvalue()
    at = data.rindex(b"OggS")
    page = bytearray(data[at:])
    page[6:14], page[22:26] = struct.pack("<q", frames), bytes(4)
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) % 2**32
    page[22:26] = struct.pack("<I", checksum)
    return data[:at] + bytes(page)


@pytest.mark.parametrize(
    "data",
    [
        wav(size=2**32 - 16),
        wav(size=2**31),
        wav(channels=65_535),
        wav(channels=0),
        wav(rate=2**32 - 1),
        wav(rate=0),
        wav(bits=65_535),
        b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<IQQQI", 28, 2**62, 2**62, 2**61, 0) + wav()[12:],
        ogg_that_says(-1),
        ogg_that_says(2**40),
        ogg_that_says(2**40, "OPUS"),
    ],
)
def test_a_header_that_lies_gives_what_is_there_or_our_error(data: bytes, decoder: media.Decoder) -> None:
    try:
        samples, _ = decoder.audio(data)
    except (InvalidArgument, ResourceExhausted) as error:
        assert error.message
    else:
        assert samples.size <= max(len(data), 16_000)


def test_hours_that_a_header_announces_are_refused(decoder: media.Decoder) -> None:
    data = flac_that_says(2**36 - 1)
    assert len(data) < 100_000
    with pytest.raises(ResourceExhausted, match="the decoded audio has .* bytes, the limit is 536,870,912") as caught:
        decoder.audio(data)
    assert caught.value.reason == "size"


@pytest.fixture(scope="module")
def silence() -> bytes:
    """A file of real silence of more than may be decoded."""
    file, count = io.BytesIO(), sound.DECODED // 4 // 8 + 1
    with soundfile.SoundFile(file, "w", 8000, 8, format="FLAC", subtype="PCM_16") as writer:
        piece = numpy.zeros((1_000_000, 8), dtype=numpy.int16)
        for start in range(0, count, len(piece)):
            writer.write(piece[: count - start])
    return file.getvalue()


def test_hours_of_silence_are_refused(silence: bytes, decoder: media.Decoder) -> None:
    assert len(silence) < sound.DECODED / 100
    with pytest.raises(ResourceExhausted, match="the limit is 536,870,912 bytes"):
        decoder.audio(silence)
    assert decoder.audio_rate(silence) == 8000


# Films


def avi_that_says(width: int, height: int) -> bytes:
    """A film whose stream header (BITMAPINFOHEADER) has any size."""
    data = bytearray(film(av, "avi", "mpeg4"))
    at = data.index(b"strf") + 8
    data[at + 4 : at + 12] = struct.pack("<ii", width, height)
    return bytes(data)


@pytest.mark.parametrize(
    "size",
    [(65_535, 65_535), (2**31 - 1, 2**31 - 1), (-1, -1), (0, 0), (7680, 4322), (2**31 - 1, 1)],
)
def test_a_film_of_absurd_dimensions_gives_small_frames_or_our_error(
    size: tuple[int, int], decoder: media.Decoder
) -> None:
    try:
        shapes = {frame.shape for frame in itertools.islice(decoder.frames(avi_that_says(*size)), 10)}
    except (InvalidArgument, ResourceExhausted) as error:
        assert "video" in error.message
    else:  # the size in the frames themselves goes before that of the container
        assert shapes <= {(48, 64, 3)}


# Whatever else


def test_broken_files_give_the_same_as_here_or_our_error(processes: Apart) -> None:
    """Each is decoded on both sides: the outcomes are the same, and no process ends."""
    noise = pillow.fromarray(numpy.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=numpy.uint8))
    samples = io.BytesIO()
    soundfile.write(samples, tone(numpy), 16_000, format="FLAC")
    files: dict[bytes, Callable[[Any, bytes], Any]] = {
        saved(noise, name): lambda of, data: of.image_array(data) for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP")
    }
    files[saved(noise, "TIFF")] = lambda of, data: of.pil(data).tobytes()
    files[media.encode_audio(tone(numpy), 8000)] = lambda of, data: of.audio(data)[0]
    files[samples.getvalue()] = lambda of, data: of.audio(data)[0]
    files[film(av, "mp4", "mpeg4")] = lambda of, data: list(itertools.islice(of.frames(data), 20))

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.sampled_from(list(files)), st.data())
    def run(good: bytes, data: st.DataObject) -> None:
        bad = broken(good, data)
        assert outcome(files[good], processes, bad) == outcome(files[good], here, bad)

    run()


def outcome(decode: Callable[[Any, bytes], Any], place: object, data: bytes) -> object:
    try:
        found = decode(place, data)
    except (InvalidArgument, ResourceExhausted) as error:
        return type(error)
    return [part.tobytes() for part in found] if isinstance(found, list) else bytes(found)


class Shrink(Executor):
    @post
    def shrink(self, doc: Image) -> list[int]:
        return list(doc.pil().size)


def test_a_server_refuses_a_bomb_and_goes_on() -> None:
    pytest.importorskip("uvicorn")
    sound_one, bomb = Image(value=png_of_zeros(300, 200)), Image(value=png_of_zeros(60_000, 60_000))
    with Shrink() as server:
        (url,) = server.start("http://127.0.0.1:0")
        client = Shrink.at(url)
        for _ in range(2):
            assert client.shrink(doc=sound_one) == [300, 200]
            with pytest.raises(ResourceExhausted, match="3,600,000,000 pixels") as caught:
                client.shrink(doc=bomb)
            assert caught.value.remote
            with pytest.raises(InvalidArgument, match="it is application/pdf") as refused:
                client.shrink(doc=Image(value=b"%PDF-1.7"))
            assert refused.value.details["reason"] == "media"


@ELSEWHERE
def test_a_peer_is_not_told_which_program_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with Shrink() as server:
        (url,) = server.start("http://127.0.0.1:0")
        with pytest.raises(Internal) as caught:
            Shrink.at(url).shrink(doc=Image(value=png_of_zeros(3, 2)))
        assert "/no/such" not in str(caught.value)
