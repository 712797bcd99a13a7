"""The examples do what their first lines say."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import pytest

import pages
from xooai import Audio, Image, InvalidArgument, Text

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
RECEIPT = EXAMPLES / "data" / "receipt.jpg"
SENTENCE = EXAMPLES / "data" / "sentence.wav"

QUIET = {"CI", "GITHUB_ACTIONS", "GITLAB_CI", "ORT_DISABLE_TELEMETRY"}
"""With these in its environment onnxruntime reports nothing, whatever an example does."""

PATIENCE = 120  # seconds: a demo that hangs fails its test instead of stopping the run


def load(name: str) -> ModuleType:
    """Import an example by its file, as a program of the same folder would."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pydantic looks a postponed annotation up in its module
    spec.loader.exec_module(module)
    return module


def needs(*modules: str) -> None:
    """Skip where a module is missing. None is imported: onnxruntime would report at once, unless told not to."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"no module {module!r}; it comes with: pip install -e '.[http,examples]'")


def run(*arguments: str, **own: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the folder of the examples, with its `own` variables in the environment."""
    env = {name: value for name, value in os.environ.items() if name not in QUIET} | own
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=EXAMPLES, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.fixture(scope="module")
def reader() -> Iterator[Any]:
    needs("rapidocr", "onnxruntime")
    with load("reader").Reader() as e:
        yield e


@pytest.fixture(scope="module")
def page(reader: Any) -> Any:
    return reader.read(doc=Image(ref=str(RECEIPT)))


@pytest.fixture(scope="module")
def listener() -> Iterator[Any]:
    needs("pocketsphinx", "soundfile", "soxr")
    with load("listener").Listener() as e:
        yield e


def test_the_reader_reads_the_receipt_as_people_do(page: Any) -> None:
    rows = [row.split() for row in page.text.read().splitlines()]

    assert rows[:3] == [["Harbour", "Books"], ["12", "Lighthouse", "Lane"], ["Tuesday", "14", "May", "2024", "10:32"]]
    assert ["Two", "Postcards", "3.20"] in rows
    assert ["TOTAL", "32.25"] in rows


def test_a_line_stands_where_its_box_is(page: Any) -> None:
    (left, top), (right, _), (_, bottom), _ = next(line.box for line in page.lines if line.text == "TOTAL")

    assert 220 < left < 250 < 410 < right < 440  # where the picture of 1200 x 1600 has it
    assert 830 < top < 850 < 900 < bottom < 930


def test_the_reader_leaves_out_what_it_is_less_sure_of_than_asked(reader: Any, page: Any) -> None:
    scores = sorted(line.score for line in page.lines)
    middle = scores[len(scores) // 2]

    sure = reader.post(on="read", doc=Image(ref=str(RECEIPT)), min_score=middle).lines

    assert 0 < len(sure) < len(scores)
    assert min(line.score for line in sure) >= middle


def test_a_picture_without_text_gives_an_empty_page(reader: Any) -> None:
    pillow = pytest.importorskip("PIL.Image")

    page = reader.read(doc=Image(value=pillow.new("RGB", (300, 200), "white")))

    assert (page.text.read(), page.lines) == ("", [])


@pytest.mark.parametrize("min_score", [-0.1, 1.1, "much"])
def test_a_score_is_between_nought_and_one(reader: Any, min_score: object) -> None:
    with pytest.raises(InvalidArgument, match="min_score"):
        reader.post(on="read", doc=Image(ref=str(RECEIPT)), min_score=min_score)


def test_what_is_no_picture_is_an_invalid_argument(reader: Any) -> None:
    with pytest.raises(InvalidArgument):
        reader.post(on="read", doc=Image(value=b"\x89PNG\r\n\x1a\n and then nothing of the kind"))


def test_a_picture_too_narrow_to_read_is_an_invalid_argument(reader: Any) -> None:
    pillow = pytest.importorskip("PIL.Image")

    with pytest.raises(InvalidArgument, match="5000 x 20"):
        reader.post(on="read", doc=Image(value=pillow.new("RGB", (5000, 20), "white")))


def test_a_client_of_the_reader_loads_no_model() -> None:
    ended = run("-c", "import reader, sys; reader.Reader.at('http://127.0.0.1:1'); print(*sys.modules)")

    assert "reader" in ended.stdout.split()
    assert {"PIL", "cv2", "onnxruntime", "rapidocr"}.isdisjoint(ended.stdout.split())


def test_the_listener_hears_the_sentence_and_forgets_the_last_caller(listener: Any) -> None:
    heard = [listener.post(on="listen", doc=Audio(ref=str(SENTENCE))).read() for _ in range(2)]

    assert heard == ["had he married a more amiable woman"] * 2


def test_the_listener_takes_other_formats_rates_and_channels(listener: Any) -> None:
    numpy, soundfile, soxr = (pytest.importorskip(name) for name in ("numpy", "soundfile", "soxr"))
    samples, rate = soundfile.read(SENTENCE)
    file = io.BytesIO()
    soundfile.write(file, numpy.stack([soxr.resample(samples, rate, 44_100)] * 2, axis=1), 44_100, format="FLAC")

    heard = listener.listen(doc=Audio(value=file.getvalue()))

    assert heard.read() == "had he married a more amiable woman"


def test_silence_says_nothing(listener: Any) -> None:
    numpy = pytest.importorskip("numpy")
    second: Any = (numpy.zeros((16_000, 1), "float32"), 16_000)

    assert listener.listen(doc=Audio(value=second)).read() == ""


def test_the_echo_gives_a_picture_back_unread() -> None:
    with load("echo").MyExecutor() as e:
        assert e.post(on="echo", doc=Image(ref="233.jpg")) == Image(ref="233.jpg")


def test_the_echo_serves_as_printed_until_it_is_told_to_end() -> None:
    needs("uvicorn")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8080)) == 0:
            pytest.skip("something else serves at 127.0.0.1:8080, which is where the echo serves")
    command = [sys.executable, "echo.py"]
    with subprocess.Popen(command, cwd=EXAMPLES, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().split()[-1] == "http://127.0.0.1:8080"
            body = {"Content-Type": "application/json"}
            request = Request("http://127.0.0.1:8080/my_executor/echo", b'{"doc": {"ref": "233.jpg"}}', body)
            with build_opener(ProxyHandler({})).open(request, timeout=PATIENCE) as reply:
                assert json.load(reply)["ref"] == "233.jpg"
        finally:
            process.terminate()
            _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, "")


def test_one_program_gives_equal_answers_everywhere() -> None:
    drivers = {"http": "uvicorn", "grpc": "grpc", "quic": "aioquic"}
    there = [scheme for scheme, module in drivers.items() if importlib.util.find_spec(module)]

    ended = run("everywhere.py")

    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len([line for line in lines if " equal " in line]) == 2 * (1 + len(there))
    assert len([line for line in lines if "pip install" in line]) == len(drivers) - len(there)


def test_the_program_of_every_shape_does_what_it_says() -> None:
    everywhere = load("everywhere")
    with everywhere.Desk() as desk:
        measured, is_same, words, longest, heard, first, refused, stopped = everywhere.answers(desk, "json")

    assert (measured.letters, measured.words) == (18, {"to": 2, "be": 2})
    assert is_same
    assert [word.read() for word in words] == ["to", "be", "or", "not", "to", "be"]
    assert longest.read() == "an elephant"
    assert [answer and answer.read() for answer in heard] == [
        "a bee? 5 letters",
        "an elephant? 11 letters",
        "a cat? 5 letters",
        None,
    ]
    assert first.read() == "one"
    assert refused[0] == "InvalidArgument"
    assert stopped == ("NotFound", "nothing follows 'stop'")


def test_the_driver_is_short_and_its_page_shows_it_as_it_is() -> None:
    """It passes the suite of drivers: tests/testing/test_example_driver.py."""
    example = (EXAMPLES / "xooai_tcp.py").read_text()
    page = EXAMPLES.parent / "docs" / "how-to" / "driver.md"

    assert len(example.splitlines()) < 60
    assert [block.text for block in pages.blocks(page) if block.title == "xooai_tcp.py"] == [example]


def test_the_linguist_tells_languages_apart() -> None:
    needs("py3langid")
    said = [
        "The postcards are in the drawer on the left.",
        "Les cartes postales sont dans le tiroir de gauche.",
        "Die Postkarten liegen in der linken Schublade.",
        "Открытки лежат в левом ящике стола.",
    ]

    ended = run(
        "-c",
        "import json, sys, sheet, xooai\n"
        "with sheet.Linguist() as e:\n"
        "    for text in json.loads(sys.argv[1]):\n"
        "        print(e.post(on='language', doc=xooai.Text(value=text)).code)",
        json.dumps(said),
    )

    assert (ended.stdout.split(), ended.stderr) == (["en", "fr", "de", "ru"], "")


def test_the_search_finds_the_passage_that_a_question_is_about(tmp_path: Path) -> None:
    needs("numpy", "sklearn", "usearch")
    (tmp_path / "birds.txt").write_text(
        "Swallows fly south in autumn, and come back in April.\n\n"
        "An owl sees in the dark, and hunts mice at night.\n\n"
        "The kingfisher dives for small fish."
    )
    (tmp_path / "stones.md").write_text(
        "Granite is made deep in the earth, where molten rock cools slowly.\n\nSandstone is sand, pressed for ages.\n"
    )
    search = load("search")
    known = [text.read() for text in search.texts(search.passages(str(tmp_path)))]

    with search.Embedder(known) as embedder, search.Index() as index:
        with search.filling(embedder, index) as fill:
            count = fill.post(folder=str(tmp_path))
        with search.searching(embedder, index) as find:
            hits = [find.post(doc=Text(value=text)) for text in ("What hunts mice?", "Where is granite made?")]

    assert count == 5
    assert [best[0].text.split()[:2] for best in hits] == [["An", "owl"], ["Granite", "is"]]
    assert [best[0].source for best in hits] == ["birds.txt", "stones.md"]


def test_the_search_says_in_one_line_that_there_is_nothing_to_search_in(tmp_path: Path) -> None:
    ended = run("search.py", str(tmp_path), "What hunts mice?")

    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "has 0 paragraphs" in ended.stderr


def test_the_demo_reads_the_receipt_in_every_way_and_leaves_nothing_behind(tmp_path: Path) -> None:
    needs("rapidocr", "onnxruntime", "py3langid", "uvicorn")

    ended = run("demo.py", XDG_CACHE_HOME=str(tmp_path))  # where onnxruntime keeps what it reports

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Two Postcards" in ended.stdout
    assert "over HTTP, by the typed client" in ended.stdout
    assert "language en, beside it a thumbnail of 120 x 160 pixels" in ended.stdout
    assert "-> |  language  |" in ended.stdout
    assert re.search(r"^page .*#.* ms .*reader/read at http://127", ended.stdout, re.MULTILINE)
    assert re.search(r"^small .*#.* ms .*shrinker/shrink in process", ended.stdout, re.MULTILINE)
    assert list(tmp_path.rglob("*")) == []


def test_the_demo_says_in_one_line_that_its_picture_is_missing() -> None:
    needs("rapidocr", "onnxruntime", "uvicorn")

    ended = run("demo.py", "no-such.jpg")

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "no-such.jpg" in ended.stderr
