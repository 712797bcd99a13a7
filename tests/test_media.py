"""Media: what the first bytes tell, and what is decoded, encoded and refused."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import struct
import sys
import zlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media_files import box, broken, chunk, film, png, saved, tiff, tone
from xooai import media
from xooai.errors import InvalidArgument, PluginError, ResourceExhausted, XooaiError
from xooai.media import image, video

# What the first bytes tell


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "image/bmp"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (box(b"avif", b"mif1"), "image/avif"),
        (box(b"mif1", b"mif1", b"avif"), "image/avif"),
        (box(b"mif1", b"heic"), "image/heic"),
        (box(b"heic"), "image/heic"),
        (box(b"mif1"), "image/heif"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"fLaC\0", "audio/flac"),
        (b"OggS" + bytes(24) + b"\x01vorbis", "audio/ogg"),
        (b"OggS" + bytes(24) + b"\x80theora", "video/ogg"),
        (b"ID3\x04\0", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (box(b"M4A ", b"isom"), "audio/mp4"),
        (box(b"isom", b"iso2"), "video/mp4"),
        (box(b"none", b"mp42"), "video/mp4"),
        (box(b"qt  "), "video/quicktime"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", "video/webm"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska", "video/x-matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "video/x-msvideo"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
def test_the_first_bytes_tell_the_media_type(head: bytes, media_type: str) -> None:
    assert media.sniff(head) == media_type
    assert media.sniff(memoryview(head + bytes(1000))) == media_type


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"B",
        b"BM is how this sentence begins",
        b"RIFF\0\0\0\0CDDA",
        b"RIFF",
        box(b"none"),
        b"\0\0\0\x08ftyp",
        b"\xff\xff\xff\xffftypnone",
        b"\x1a\x45\xdf\xa3",
        "text".encode("utf-16"),
        b"\xff\xff\xff\xff",
        b"\xff\xe0",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"8BPS\0\x01",
        b"hello",
        bytes(100),
    ],
)
def test_other_bytes_tell_nothing(head: bytes) -> None:
    assert media.sniff(head) is None


@given(st.binary(max_size=300))
def test_every_content_has_one_answer_or_none(data: bytes) -> None:
    assert media.sniff(data) == media.sniff(data[: media.HEAD])


# Without the libraries


@pytest.mark.parametrize(
    ("call", "missing", "words"),
    [
        (lambda: media.pil(b""), "PIL.Image", r"Image.pil\(\) needs Pillow"),
        (lambda: media.image_array(b""), "numpy", r"Image.array\(\) needs numpy"),
        (lambda: media.encode_image(object()), "PIL.Image", "needs Pillow"),
        (lambda: media.audio(b""), "soundfile", r"Audio.array\(\) needs soundfile"),
        (lambda: media.audio_rate(b""), "soundfile", "Audio.rate needs soundfile"),
        (lambda: media.encode_audio(object(), 8000), "soundfile", "needs soundfile"),
        (lambda: next(media.frames(b"")), "av", r"Video.frames\(\) needs PyAV"),
    ],
)
def test_a_missing_library_names_the_extra(
    call: Callable[[], object], missing: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(PluginError, match=rf"{words}; try: pip install 'xooai\[media\]'"):
        call()


def test_a_library_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "soundfile.py").write_text("raise OSError('sndfile library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "soundfile", raising=False)
    with pytest.raises(PluginError, match="does not load: sndfile library not found"):
        media.audio_rate(b"")


# Pictures


@pytest.fixture(scope="module")
def pillow() -> ModuleType:
    module: ModuleType = pytest.importorskip("PIL.Image", reason="pictures need the extra 'media'")
    return module


@pytest.fixture(scope="module")
def numpy() -> ModuleType:
    module: ModuleType = pytest.importorskip("numpy", reason="arrays need the extra 'media'")
    return module


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_decodes_to_rgb_of_height_by_width(name: str, pillow: ModuleType, numpy: ModuleType) -> None:
    features = importlib.import_module("PIL.features")
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = saved(pillow.new("RGB", (30, 20), (200, 100, 50)), name)
    array = media.image_array(data)
    assert (array.shape, array.dtype) == ((20, 30, 3), numpy.uint8)
    assert numpy.abs(array.astype(int) - (200, 100, 50)).max() < 8
    assert array.flags.writeable
    image = media.pil(data)
    assert (image.size, image.format) == ((30, 20), name)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_becomes_three_channels(mode: str, pillow: ModuleType, numpy: ModuleType) -> None:
    image = pillow.new(
        mode, (3, 2), {"LA": (255, 9), "RGB": (255, 255, 255), "RGBA": (255, 255, 255, 9), "I;16": 65535}.get(mode, 255)
    )
    if mode == "P":
        image.putpalette([255] * 768)
    array = media.image_array(saved(image, "PNG"))
    assert array.tolist() == numpy.full((2, 3, 3), 255).tolist()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_mode_without_a_range_is_refused_as_an_array_and_given_as_a_picture(mode: str, pillow: ModuleType) -> None:
    data = saved(pillow.new(mode, (3, 2)), "TIFF")
    assert media.pil(data).mode == mode
    with pytest.raises(InvalidArgument, match="no range of its own"):
        media.image_array(data)


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (1, 2)), (6, (0, 1)), (8, (2, 0))])
def test_a_picture_is_upright(orientation: int, corner: tuple[int, int], pillow: ModuleType, numpy: ModuleType) -> None:
    image = pillow.new("L", (3, 2))
    image.putpixel((0, 0), 255)
    exif = pillow.Exif()
    exif[0x0112] = orientation
    data = saved(image, "PNG", exif=exif)
    array = media.image_array(data)
    assert tuple(numpy.argwhere(array[:, :, 0])[0]) == corner
    turned = pillow.open(io.BytesIO(data))  # a pending orientation is not lost when Pillow's picture is given
    assert media.image_array(media.encode_image(turned)).tolist() == array.tolist()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_exif_that_is_broken_turns_nothing(pillow: ModuleType) -> None:
    data = saved(pillow.new("L", (3, 2)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(10))
    assert media.pil(data).size == (3, 2)
    for exif in (b"", b"not EXIF at all", b"II*\0\xff\xff\xff\xff"):
        assert media.pil(png(2, 2, bytes(6), chunk(b"eXIf", exif))).size == (2, 2)


def test_an_array_comes_back_as_it_was(numpy: ModuleType, pillow: ModuleType) -> None:
    rng = numpy.random.default_rng(1)
    for shape in ((1, 1, 3), (2, 3, 3), (40, 50, 3)):
        array = rng.integers(0, 256, shape, dtype=numpy.uint8)
        assert media.image_array(media.encode_image(array)).tolist() == array.tolist()
        flipped = array[::-1, ::-1]
        assert media.image_array(media.encode_image(flipped)).tolist() == flipped.tolist()
    grey = rng.integers(0, 256, (4, 5), dtype=numpy.uint8)
    for given_grey in (grey, grey[:, :, None]):
        assert media.pil(media.encode_image(given_grey)).mode == "L"
        assert media.image_array(media.encode_image(given_grey))[:, :, 2].tolist() == grey.tolist()
    alpha = rng.integers(0, 256, (4, 5, 4), dtype=numpy.uint8)
    assert numpy.asarray(media.pil(media.encode_image(alpha))).tolist() == alpha.tolist()
    mask = grey > 100
    assert (media.image_array(media.encode_image(mask))[:, :, 0] == 255).tolist() == mask.tolist()


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa", "La", "PA"]
)
def test_a_pil_image_of_every_mode_is_kept_as_png(mode: str, pillow: ModuleType) -> None:
    kept = media.encode_image(pillow.new(mode, (3, 2)))
    assert media.sniff(kept) == "image/png"
    assert media.pil(kept).size == (3, 2)


def test_what_is_no_picture_is_told_what_one_is(numpy: ModuleType, pillow: ModuleType) -> None:
    refused: list[tuple[object, str]] = [
        (numpy.zeros((2, 2, 3)), r"uint8, not float64; if it is in 0..1: \(array \* 255\)"),
        (numpy.zeros((2, 2), dtype=numpy.int64), "uint8, or bool .* not int64 of 2x2"),
        (numpy.zeros((2, 2, 3), dtype=bool), "not bool of 2x2x3"),
        (numpy.zeros((3, 20, 20), dtype=numpy.uint8), "not 3x20x20"),
        (numpy.zeros((1, 2, 2, 3), dtype=numpy.uint8), "not 1x2x2x3"),
        (numpy.zeros((4,), dtype=numpy.uint8), "not 4"),
        (numpy.zeros((0, 2, 3), dtype=numpy.uint8), "none of them 0"),
        (numpy.array([object()]), "not object"),
        (pillow.new("F", (2, 2)), "mode 'F' cannot be PNG"),
        (pillow.new("I", (2, 2)), "mode 'I' cannot be PNG"),
        (pillow.new("L", (0, 2)), "cannot be kept as PNG"),
        ([[1, 2]], "not list"),
        ("a.png", "not str"),
        (None, "not NoneType"),
    ]
    for value, words in refused:
        with pytest.raises(InvalidArgument, match=words):
            media.encode_image(value)


def test_a_picture_is_known_from_other_values(numpy: ModuleType, pillow: ModuleType) -> None:
    assert media.is_picture(numpy.zeros((2, 2)))
    assert media.is_picture(pillow.new("L", (1, 1)))
    assert not any(media.is_picture(value) for value in (b"", "a.png", None, [1], 1))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "of no known format"),
        (b"not a picture", "of no known format; there are: PNG, JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "of no known format"),
        (b"8BPS\0\x01" + bytes(100), "of no known format"),
        (b"SIMPLE  =                    T", "of no known format"),
        (b"%PDF-1.7", "application/pdf"),
        (box(b"heic"), "image/heic"),
        (b"\x89PNG\r\n\x1a\n%!PS-Adobe-3.0 EPSF-3.0", "does not decode"),
        (b"\xff\xd8\xff" + b"8BPS\0\x01" + bytes(100), "does not decode"),
        (b"GIF89a", "does not decode"),
        (png(2, 2), "does not decode"),
    ],
)
def test_what_does_not_decode_is_an_invalid_argument(data: bytes, words: str, pillow: ModuleType) -> None:
    with pytest.raises(InvalidArgument, match=words) as caught:
        media.pil(data)
    assert caught.value.message.startswith("the image does not decode: ")


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_picture_is_an_invalid_argument(name: str, pillow: ModuleType, numpy: ModuleType) -> None:
    noise = numpy.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=numpy.uint8)
    data = saved(pillow.fromarray(noise), name)
    assert media.pil(data).size == (64, 64)
    for length in (16, len(data) // 4, len(data) // 2):
        with pytest.raises(InvalidArgument):
            media.pil(data[:length])


def test_the_largest_picture_decodes_and_a_column_more_is_refused(pillow: ModuleType) -> None:
    side = 8192
    assert side * side == image.PIXELS
    assert media.pil(png(side, side, bytes((side + 1) * side))).size == (side, side)
    with pytest.raises(ResourceExhausted, match="8,193 x 8,192 pixels, the limit is 67,108,864") as caught:
        media.pil(png(side + 1, side))
    assert caught.value.reason == "size"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(10_000, 9_000), id="png-that-pillow-warns-of"),
        pytest.param(png(2**31 - 1, 2**31 - 1), id="png"),
        pytest.param(b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0\xff\xd9", id="jpeg"),
        pytest.param(
            b"GIF89a"
            + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
            + b"\x2c"
            + struct.pack("<HHHHB", 0, 0, 1, 1, 0)
            + b"\x02;",
            id="gif",
        ),
        pytest.param(
            b"GIF89a"
            + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
            + b"\x2c"
            + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
            + b"\x02;",
            id="gif-with-a-frame-larger-than-its-screen",
        ),
        pytest.param(
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 100_000, 100_000, 1, 8, 0, 0, 0, 0, 0, 0), id="bmp"
        ),
        pytest.param(tiff(16_384, 16_384), id="tiff-of-10x10-in-one-enormous-tile"),
    ],
)
@pytest.mark.filterwarnings("ignore:Image size:Warning")
def test_a_bomb_is_refused_by_its_header(data: bytes, pillow: ModuleType) -> None:
    with pytest.raises(ResourceExhausted, match="limit is 67,108,864"):
        media.pil(data)


def test_a_tiled_tiff_of_ordinary_tiles_decodes(pillow: ModuleType) -> None:
    assert media.pil(tiff(16, 16)).size == (10, 10)


def test_text_that_unpacks_to_megabytes_is_refused(pillow: ModuleType) -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000)))
    with pytest.raises(InvalidArgument, match="too large"):
        media.pil(png(2, 2, bytes(6), text))
    assert media.pil(png(2, 2, bytes(6), chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"short")))).size == (2, 2)


# Sound


@pytest.fixture(scope="module")
def soundfile(numpy: ModuleType) -> ModuleType:
    module: ModuleType = pytest.importorskip("soundfile", reason="sound needs the extra 'media'")
    return module


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("WAV", "PCM_16"), ("RF64", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)],
)
def test_every_format_decodes_to_frames_by_channels(
    name: str, subtype: str | None, soundfile: ModuleType, numpy: ModuleType
) -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(numpy), 16_000, format=name, subtype=subtype)
    array, rate = media.audio(file.getvalue())
    assert (rate, array.dtype, array.shape[1]) == (16_000, numpy.float32, 2)
    assert abs(array.shape[0] - 4_000) < 1_200  # MP3 pads to whole frames
    assert 0.45 < numpy.abs(array[500:3500]).max() < 0.55
    assert media.audio_rate(file.getvalue()) == 16_000


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32"])
@pytest.mark.parametrize("shape", [(0,), (7,), (7, 1), (7, 2), (0, 2)])
def test_samples_come_back_as_they_were(
    dtype: str, shape: tuple[int, ...], soundfile: ModuleType, numpy: ModuleType
) -> None:
    samples = numpy.random.default_rng(1).uniform(-1, 1, shape)
    scale = 1 if dtype.startswith("float") else 2 ** (int(dtype[3:]) - 1)
    given_samples = (samples * scale).astype(dtype)
    array, rate = media.audio(media.encode_audio(given_samples, 44_100))
    assert rate == 44_100
    expected = (given_samples / scale).astype(numpy.float32)
    assert array.shape == (shape if len(shape) == 2 else (*shape, 1))
    assert array.tolist() == expected.reshape(array.shape).tolist()


def test_what_is_no_sound_is_told_what_one_is(soundfile: ModuleType, numpy: ModuleType) -> None:
    good = numpy.zeros((8, 2), dtype=numpy.float32)
    refused: list[tuple[object, Any, str]] = [
        (good.astype(numpy.uint8), 8000, "float32, float64, int16, int32, not uint8"),
        (good.astype(numpy.complex64), 8000, "not complex64"),
        (good[None], 8000, "not 1x8x2"),
        (numpy.zeros((2, 48_000), dtype=numpy.float32), 8000, "not 2x48000"),
        (numpy.float32(1), 8000, r"\(frames,\) or"),
        ([0.0], 8000, "not list"),
        (good, 0, "at least 1, not 0"),
        (good, -1, "not -1"),
        (good, 8000.0, "whole number"),
        (good, True, "whole number"),
        (good, 2**40, "cannot be written as WAV"),
    ]
    for array, rate, words in refused:
        with pytest.raises(InvalidArgument, match=words):
            media.encode_audio(array, rate)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "of no known format; there are: WAV, FLAC, Ogg, MP3"),
        (b"hello", "of no known format"),
        (b"FORM\0\0\0\0AIFF", "of no known format"),
        (box(b"M4A "), "audio/mp4"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"RIFF\xff\xff\xff\xffWAVE", "does not decode"),
        (b"fLaC" + bytes(100), "does not decode"),
        (b"OggS" + bytes(100), "does not decode"),
    ],
)
def test_sound_that_does_not_decode_is_an_invalid_argument(data: bytes, words: str, soundfile: ModuleType) -> None:
    for decode in (media.audio, media.audio_rate):
        with pytest.raises(InvalidArgument, match=words):
            decode(data)


# Moving pictures


@pytest.fixture(scope="module")
def av(numpy: ModuleType) -> ModuleType:
    module: ModuleType = pytest.importorskip("av", reason="moving pictures need the extra 'media'")
    return module


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "mpeg4"),
        ("mov", "mjpeg"),
        ("mp4", "libx264"),
        ("webm", "libvpx"),
        ("webm", "libvpx-vp9"),
        ("matroska", "mjpeg"),
        ("mov", "png"),
        ("avi", "mpeg4"),
    ],
)
def test_every_container_gives_its_frames_in_order(
    container: str, codec: str, av: ModuleType, numpy: ModuleType
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    data = film(av, container, codec)
    file = io.BytesIO(data)
    file.seek(7)  # a file is read from its beginning
    for source in (data, file):
        frames = list(media.frames(source))
        assert [(frame.shape, frame.dtype) for frame in frames] == [((48, 64, 3), numpy.uint8)] * 5
        grey = [int(frame[40, 60, 0]) for frame in frames]
        assert numpy.abs(numpy.array(grey) - [0, 40, 80, 120, 160]).max() < 10
    assert not file.closed
    assert [int(frame[40, 60, 0]) for frame in media.frames(data, step=2)] == grey[::2]


def test_frames_are_decoded_one_by_one(av: ModuleType, numpy: ModuleType) -> None:
    data = film(av, "avi", "mjpeg", count=200)
    file = io.BytesIO(data)
    first = list(itertools.islice(media.frames(file), 2))
    assert len(first) == 2
    assert file.tell() < len(data)


def test_a_film_is_upright(av: ModuleType, numpy: ModuleType) -> None:
    data = film(av, "mp4", "mpeg4")
    at = (
        data.index(b"tkhd") + 44
    )  # the matrix of ISO 14496-12, 8.3.2; this one turns to the right, as a telephone held upright says
    turned = data[:at] + struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30) + data[at + 36 :]
    straight, right = next(media.frames(data)), next(media.frames(turned))
    assert straight[5, 5, 0] > 200
    assert right.shape == (64, 48, 3)
    assert right[5, 43, 0] > 200
    assert right.tolist() == numpy.rot90(straight, -1).tolist()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "of no known format; there are: MP4"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "of no known format"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "of no known format"),
        (b'<?xml version="1.0"?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>', "of no known format"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (box(b"isom"), "no video track"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm" + bytes(100), "does not decode"),
        (b"RIFF\0\0\0\0AVI LIST", "does not decode"),
    ],
)
def test_a_film_that_does_not_decode_is_an_invalid_argument(data: bytes, words: str, av: ModuleType) -> None:
    with pytest.raises(InvalidArgument, match=words):
        list(media.frames(data))


def test_a_film_without_pictures_is_an_invalid_argument(av: ModuleType, numpy: ModuleType) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        track = output.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(numpy.zeros((1, 8000), dtype=numpy.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        output.mux(track.encode(sound))
        output.mux(track.encode())
    with pytest.raises(InvalidArgument, match="no video track"):
        list(media.frames(file.getvalue()))


def test_a_codec_that_is_not_allowed_is_named_with_those_that_are(av: ModuleType, numpy: ModuleType) -> None:
    with pytest.raises(InvalidArgument, match=r"codec is snow; there are: .*h264"):
        list(media.frames(film(av, "avi", "snow")))


@pytest.mark.parametrize(
    ("container", "codec", "kind"), [("mp4", "libx264", ResourceExhausted), ("mov", "png", InvalidArgument)]
)
def test_frames_above_the_limit_are_refused(
    container: str, codec: str, kind: type[XooaiError], av: ModuleType, numpy: ModuleType
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    assert video.PIXELS == 7680 * 4320
    assert next(media.frames(film(av, container, codec, (7680, 4320), count=1))).shape == (4320, 7680, 3)
    with pytest.raises(kind, match=r"limit (is|of) 33,177,600"):
        list(media.frames(film(av, container, codec, (7680, 4322), count=1)))


def test_a_step_below_one_is_refused(av: ModuleType) -> None:
    with pytest.raises(InvalidArgument, match="at least 1, not 0"):
        next(media.frames(b"", step=0))


# Bytes that somebody broke on purpose


def survives(decode: Callable[[], object]) -> None:
    with contextlib.suppress(InvalidArgument, ResourceExhausted):
        decode()


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it repairs
def test_a_broken_picture_gives_a_picture_or_our_error(name: str, pillow: ModuleType, numpy: ModuleType) -> None:
    good = saved(pillow.fromarray(numpy.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=numpy.uint8)), name)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        survives(lambda: media.image_array(broken(good, data)))

    run()


@pytest.mark.parametrize(("name", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)])
def test_a_broken_sound_gives_a_sound_or_our_error(
    name: str, subtype: str | None, soundfile: ModuleType, numpy: ModuleType
) -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(numpy), 16_000, format=name, subtype=subtype)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        survives(lambda: media.audio(broken(file.getvalue(), data)))

    run()


@pytest.mark.parametrize(("container", "codec"), [("mp4", "mpeg4"), ("matroska", "mjpeg"), ("avi", "mpeg4")])
def test_a_broken_film_gives_frames_or_our_error(container: str, codec: str, av: ModuleType, numpy: ModuleType) -> None:
    good = film(av, container, codec)

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        survives(lambda: list(itertools.islice(media.frames(broken(good, data)), 20)))

    run()
