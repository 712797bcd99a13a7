"""/docs in Chromium: what a person sees and does there, and what pages of others cannot do to a server on this machine."""

from __future__ import annotations

import base64
import json
import logging
import re
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest

from gallery import Gallery
from pages import blocks
from xooai import Executor, NotFound, Text, post, stream
from xooai.mount import application

pytest.importorskip("selenium", reason="it comes with: pip install -e '.[dev]'")
pytest.importorskip("starlette", reason="it comes with: pip install -e '.[dev]'")
pytest.importorskip("uvicorn", reason="it comes with: pip install -e '.[http]'")

import uvicorn
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from browsing import until

pytestmark = pytest.mark.system

SOON = 20  # seconds: a page stands within one or two, on a busy machine too
HERE = "http://127.0.0.1:0"
AT_ONCE = 0.0  # seconds of grace: a browser keeps its idle connections, and a server that stops would wait for them
RECEIPT = Path(__file__).parents[1] / "examples/data/receipt.jpg"
# Calls arguments[0] with the options of arguments[1]; gives "TYPE STATUS" of the response, or the name of the error.
FETCH = """
const [url, options, done] = arguments;
fetch(url, options).then((response) => done(`${response.type} ${response.status}`), (error) => done(error.name));
"""

# Sends a form that is made of one field to arguments[0], and tells when something has come back.
SUBMIT = """
const [url, done] = arguments;
const frame = Object.assign(document.createElement("iframe"), {name: "answer"});
const field = Object.assign(document.createElement("textarea"), {name: "doc", value: "hello"});
const form = Object.assign(document.createElement("form"), {
  action: url, method: "post", enctype: "text/plain", target: "answer",
});
form.append(field);
document.body.append(frame, form);
frame.addEventListener("load", () => done());
form.submit();
"""


class Counting(Executor):
    """Counts how often it is called."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @post
    def say(self, doc: Text) -> Text:
        self.heard.append(doc.read())
        return doc


@pytest.fixture
def url() -> Iterator[str]:
    with Gallery() as gallery:
        yield gallery.start(HERE, grace=AT_ONCE)[0]


@contextmanager
def beside(app: Any) -> Iterator[int]:
    """The port of an application behind uvicorn, in a thread."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for who listens at this port next
        bound.bind(("127.0.0.1", 0))
        bound.listen()  # whoever connects from now on waits for uvicorn
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
        serving = threading.Thread(target=server.run, args=([bound],))
        serving.start()
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            serving.join()


def page_of_others() -> Starlette:
    async def page(_: Any) -> HTMLResponse:
        return HTMLResponse("<!DOCTYPE html><title>elsewhere</title><p>A page that wants to call.</p>")

    return Starlette(routes=[Route("/", page)])


def shown(browser: webdriver.Chrome, selector: str) -> WebElement:
    """The first element that fits, as soon as there is one."""
    found: WebElement = until(browser, lambda _: next(iter(browser.find_elements(By.CSS_SELECTOR, selector)), None))
    return found


def fetched(browser: webdriver.Chrome, url: str, **options: Any) -> str:
    return str(browser.execute_async_script(FETCH, url, options))


def failures(browser: webdriver.Chrome) -> list[Any]:
    """What the browser says went wrong; an answer that is a problem is among it."""
    return [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


class Operation:
    """An operation of the gallery that a link led to, with its form open."""

    def __init__(self, browser: webdriver.Chrome, url: str, name: str) -> None:
        self.browser = browser
        self.own = f"#operations-gallery-gallery_{name}"
        browser.get(f"{url}/docs#/gallery/gallery_{name}")
        self.find(".try-out__btn").click()

    def find(self, selector: str) -> WebElement:
        return shown(self.browser, f"{self.own} {selector}")

    def choose(self, part: str, media_type: str) -> None:
        Select(self.find(f"{part} select.content-type")).select_by_visible_text(media_type)

    def execute(self) -> str:
        """Send what the form holds; the status of the answer."""
        self.find("button.execute").click()
        return self.find(".live-responses-table tbody .response-col_status").text

    def answer(self) -> Any:
        return json.loads(self.find(".live-responses-table .microlight code").text)


def test_the_page_shows_all_operations_and_asks_nobody_else(browser: webdriver.Chrome, url: str) -> None:
    browser.get(f"{url}/docs")
    shown(browser, ".opblock")
    paths = browser.execute_script("return fetch('openapi.json').then(r => r.json()).then(d => Object.keys(d.paths))")
    operations = browser.find_elements(By.CSS_SELECTOR, ".opblock-summary-path")
    assert [operation.get_attribute("data-path") for operation in operations] == paths
    assert "/gallery/read" in paths
    asked = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert f"{url}/docs/swagger-ui-bundle.js" in asked
    assert [name for name in asked if not name.startswith((f"{url}/", "data:"))] == []
    assert browser.get_log("browser") == []


def test_the_tab_and_the_server_have_names(browser: webdriver.Chrome, url: str) -> None:
    browser.get(f"{url}/docs")
    assert until(browser, lambda _: browser.title == "gallery")
    assert shown(browser, ".servers option").text == ". - this server"


def test_an_endpoint_without_docstring_has_its_path_alone(browser: webdriver.Chrome, url: str) -> None:
    browser.get(f"{url}/docs")
    told = {
        name: shown(browser, f"#operations-gallery-gallery_{name} .opblock-summary").text for name in ("read", "said")
    }
    assert told["read"].splitlines() == ["POST", "/gallery/read", "Tell how large a picture is."]
    assert told["said"].splitlines() == ["POST", "/gallery/said"]


def test_a_script_that_stands_in_the_page_itself_is_not_run(browser: webdriver.Chrome, url: str) -> None:
    browser.get(f"{url}/docs")
    browser.execute_script("""
        const script = document.createElement("script");
        script.textContent = "window.has_run = true";
        document.body.append(script);
    """)
    assert browser.execute_script("return window.has_run") is None
    assert "Content Security Policy" in browser.get_log("browser")[-1]["message"]


def test_a_link_leads_to_one_operation(browser: webdriver.Chrome, url: str) -> None:
    browser.get(f"{url}/docs#/gallery/gallery_read")
    assert "how large a picture is" in shown(browser, ".opblock.is-open .opblock-summary-description").text
    (opened,) = browser.find_elements(By.CSS_SELECTOR, ".opblock.is-open")
    assert opened.get_attribute("id") == "operations-gallery-gallery_read"


def test_the_example_that_is_shown_can_be_sent_as_it_is(browser: webdriver.Chrome, url: str) -> None:
    operation = Operation(browser, url, "read")
    example = json.loads(operation.find("textarea.body-param__text").text)
    size = len(base64.b64decode(example["doc"]["value"]))
    assert operation.execute() == "200"
    assert operation.answer() == {"kind": "text", "value": f"{size} bytes, {example['min_score']}"}
    assert re.search(r"Request duration\s+\d+ ms", operation.find(".live-responses-table").text)
    assert failures(browser) == []


def test_what_is_wrong_with_a_body_is_shown(browser: webdriver.Chrome, url: str) -> None:
    operation = Operation(browser, url, "read")
    body = operation.find("textarea.body-param__text")
    body.clear()
    body.send_keys('{"doc": {}}')
    assert operation.execute() == "422"
    problem = operation.answer()
    assert (problem["title"], problem["status"]) == ("INVALID_ARGUMENT", 422)
    assert "doc" in problem["detail"]
    assert "application/problem+json" in operation.find(".live-responses-table .headerline:nth-of-type(2)").text


def test_a_picture_is_sent_by_the_form(browser: webdriver.Chrome, url: str) -> None:
    operation = Operation(browser, url, "read")
    operation.choose(".opblock-section-request-body", "multipart/form-data")
    operation.find("input[type=file]").send_keys(str(RECEIPT))
    assert operation.execute() == "200"
    assert operation.answer()["value"] == f"{RECEIPT.stat().st_size} bytes, 0.5"


def test_a_picture_that_comes_back_is_shown(browser: webdriver.Chrome, url: str) -> None:
    operation = Operation(browser, url, "shown")
    operation.choose(".opblock-section-request-body", "multipart/form-data")
    operation.find("input[type=file]").send_keys(str(RECEIPT))
    operation.choose(".responses-wrapper", "image/*")
    assert operation.execute() == "200"
    picture = operation.find(".live-responses-table img")
    assert until(browser, lambda _: picture.get_property("naturalWidth")) > 0
    assert failures(browser) == []


def test_the_page_works_inside_another_application(browser: webdriver.Chrome) -> None:
    with Gallery() as gallery:
        outer = Starlette(routes=[Mount("/models/v1", application(gallery))])
        with beside(outer) as port:
            operation = Operation(browser, f"http://127.0.0.1:{port}/models/v1", "read")
            assert operation.execute() == "200"
            assert operation.answer()["kind"] == "text"
            assert failures(browser) == []


# Pages of others


@pytest.fixture
def access_log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Requests and statuses of what a server that starts from now on has been asked."""
    caplog.set_level(logging.INFO, logger="xooai.access")
    return lambda: [
        record.getMessage().split(" ", 1)[1].rsplit(" ", 1)[0]
        for record in caplog.records
        if record.name == "xooai.access"
    ]


TEXT = {"method": "POST", "headers": {"content-type": "text/plain"}, "body": "hello"}
JSON = {"method": "POST", "headers": {"content-type": "application/json"}, "body": '{"doc": {"value": "hello"}}'}


@pytest.mark.parametrize(
    ("options", "outcome", "logged"),
    [
        (TEXT, "TypeError", "'POST /counting/say' 403"),
        ({**TEXT, "mode": "no-cors"}, "opaque 0", "'POST /counting/say' 403"),
        ({**TEXT, "mode": "no-cors", "referrerPolicy": "no-referrer"}, "opaque 0", "'POST /counting/say' 403"),
        (JSON, "TypeError", "'OPTIONS /counting/say' 403"),
    ],
    ids=["text", "text-unseen", "text-from-nowhere", "json"],
)
def test_a_page_of_another_server_cannot_call(
    browser: webdriver.Chrome,
    access_log: Callable[[], list[str]],
    options: dict[str, Any],
    outcome: str,
    logged: str,
) -> None:
    with Counting() as counting, beside(page_of_others()) as port:
        url = counting.start(HERE, grace=AT_ONCE)[0]
        browser.get(f"http://127.0.0.1:{port}/")
        assert fetched(browser, f"{url}/counting/say", **options) == outcome
        assert (counting.heard, access_log()) == ([], [logged])
        browser.get(f"{url}/docs")
        assert fetched(browser, f"{url}/counting/say", **options) == "basic 200"
        assert counting.heard == ["hello"]


def test_a_form_of_another_server_cannot_call(browser: webdriver.Chrome, access_log: Callable[[], list[str]]) -> None:
    with Counting() as counting, beside(page_of_others()) as port:
        url = counting.start(HERE, grace=AT_ONCE)[0]
        browser.get(f"http://127.0.0.1:{port}/")
        browser.execute_async_script(SUBMIT, f"{url}/counting/say")
        assert (counting.heard, access_log()) == ([], ["'POST /counting/say' 403"])
        browser.get(f"{url}/livez")  # /docs sends no forms, not even its own
        browser.execute_async_script(SUBMIT, f"{url}/counting/say")
        assert counting.heard == ["doc=hello\r\n"]


def test_a_name_that_is_given_the_address_of_the_server_cannot_call(
    browser: webdriver.Chrome, access_log: Callable[[], list[str]]
) -> None:
    with beside(page_of_others()) as port:
        browser.get(f"http://evil.test:{port}/")
    with Counting() as counting:
        counting.start(f"http://127.0.0.1:{port}", grace=AT_ONCE)
        for path, options in (("/counting/say", JSON), ("/counting/say", TEXT), ("/openapi.json", {})):
            assert fetched(browser, path, **options) == "basic 403"
        assert counting.heard == []
        assert access_log() == ["'POST /counting/say' 403", "'POST /counting/say' 403", "'GET /openapi.json' 403"]
        browser.get(f"http://127.0.0.1:{port}/livez")
        assert fetched(browser, "/counting/say", **JSON) == "basic 200"
        assert counting.heard == ["hello"]


# Streams

# Opens an EventSource at arguments[0]; gives what came once it has been told to stop, or has been refused.
LISTEN = """
const [url, done] = arguments;
const found = [], source = new EventSource(url);
source.onmessage = (event) => found.push(JSON.parse(event.data));
source.addEventListener("end", () => found.push("end"));
source.addEventListener("error", () => source.readyState === EventSource.CLOSED && done(found));
"""


class Ticking(Executor):
    """Counts how often it is called, and ticks."""

    def __init__(self) -> None:
        self.calls = 0

    @stream
    async def tick(self, n: int) -> AsyncIterator[int]:
        self.calls += 1
        for number in range(n):
            yield number


def test_a_page_of_the_server_listens_to_a_stream_once(browser: webdriver.Chrome) -> None:
    with Ticking() as ticking:
        url = ticking.start(HERE, grace=AT_ONCE)[0]
        browser.get(f"{url}/docs")
        path = f"{url}/ticking/tick?arguments={quote(json.dumps({'n': 3}))}"
        assert browser.execute_async_script(LISTEN, path) == [0, 1, 2, "end"]
        assert ticking.calls == 1  # the browser has asked again


def test_a_page_of_others_listens_to_no_stream(browser: webdriver.Chrome) -> None:
    with Ticking() as ticking, beside(page_of_others()) as port:
        path = f"{ticking.start(HERE, grace=AT_ONCE)[0]}/ticking/tick?arguments={quote(json.dumps({'n': 3}))}"
        browser.get(f"http://evil.test:{port}/")
        assert browser.execute_async_script(LISTEN, path) == []
        fetched(browser, path, mode="no-cors", headers={"Accept": "text/event-stream"})  # comes without Origin
        assert ticking.calls == 0


# Gives what the script in arguments[0] logs, as soon as that is as much as arguments[1] says.
LOGGED = """
const [script, count, done] = arguments, lines = [];
const log = (line) => lines.push(String(line)) === count && done(lines);
new Function("console", script)({log});
"""

# Opens a WebSocket at arguments[0], and ends its own stream at once; gives all that comes, and the code of the close.
TALK = """
const [url, protocols, messages, done] = arguments, found = [];
const socket = new WebSocket(url, protocols);
socket.binaryType = "arraybuffer";
socket.onopen = () => messages.forEach((message) => socket.send(
  typeof message === "string" ? message : new Uint8Array(message)
));
socket.onmessage = ({data}) => found.push(typeof data === "string" ? data : Array.from(new Uint8Array(data)));
socket.onclose = ({code, reason}) => done([socket.protocol, found, code, reason]);
"""

# Opens a WebSocket at arguments[0], and leaves it open; gives the first message.
HOLD = """
const [url, done] = arguments, socket = window.held = new WebSocket(url);
socket.onmessage = ({data}) => done(data);
socket.onopen = () => ["{}", '"here"'].forEach((message) => socket.send(message));
"""


class Echoing(Executor):
    """Says again what it hears, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.ended = threading.Event()

    @stream
    async def echo(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        self.calls += 1
        try:
            async for word in words:
                if word == "fail":
                    raise NotFound("there is no such word")
                yield word
        finally:
            self.ended.set()


def talked(browser: webdriver.Chrome, url: str, *messages: str | list[int], protocols: Any = ()) -> list[Any]:
    socket = url.replace("http", "ws", 1)
    return list(browser.execute_async_script(TALK, f"{socket}/echoing/echo", list(protocols), list(messages)))


def test_the_scripts_in_the_documentation_do_what_they_say(browser: webdriver.Chrome) -> None:
    found = blocks(Path(__file__).parents[1] / "docs/how-to/streams-over-http.md")
    (program,) = (block.text for block in found if block.title == "counter.py")
    scripts = [(script.text, said.text.split("\n")[:-1]) for script, said in pairwise(found) if script.language == "js"]
    module = ModuleType("counter")
    sys.modules["counter"] = module
    exec(program, module.__dict__)
    assert len(scripts) == 2
    with module.Counter() as counter:
        url = counter.start(HERE, grace=AT_ONCE)[0]
        browser.get(f"{url}/livez")  # a page of the server that may run scripts of a test
        for script, said in scripts:
            assert browser.execute_async_script(LOGGED, script, len(said)) == said
    del sys.modules["counter"]


def test_a_page_of_the_server_talks_over_a_websocket(browser: webdriver.Chrome) -> None:
    with Echoing() as echoing:
        url = echoing.start(HERE, grace=AT_ONCE)[0]
        for path in ("docs", "livez"):
            browser.get(f"{url}/{path}")
            assert talked(browser, url, "{}", '"a"', '"b"', "") == ["", ['"a"', '"b"'], 1000, ""]
            packed = [[0x80], [0xA1, ord("a")], []]
            assert talked(browser, url, *packed, protocols=["xooai.msgpack"]) == [
                "xooai.msgpack",
                packed[1:2],
                1000,
                "",
            ]
        *_, items, code, reason = talked(browser, url, "{}", '"a"', '"fail"')
        assert (items[:2], code, reason) == (['"a"', ""], 4005, "there is no such word")
        assert json.loads(items[2])["title"] == "NOT_FOUND"


def test_a_page_of_others_opens_no_websocket(browser: webdriver.Chrome) -> None:
    with Echoing() as echoing, beside(page_of_others()) as port:
        url = echoing.start(HERE, grace=AT_ONCE)[0]
        for host in ("evil.test", "127.0.0.1"):
            browser.get(f"http://{host}:{port}/")
            assert talked(browser, url, "{}", "") == ["", [], 1006, ""]
        assert echoing.calls == 0


def test_a_page_that_is_left_ends_its_calls(browser: webdriver.Chrome) -> None:
    with Echoing() as echoing:
        url = echoing.start(HERE, grace=AT_ONCE)[0]
        browser.get(f"{url}/livez")
        assert browser.execute_async_script(HOLD, f"{url.replace('http', 'ws', 1)}/echoing/echo") == '"here"'
        assert not echoing.ended.is_set()
        browser.get("about:blank")
        assert echoing.ended.wait(SOON)
