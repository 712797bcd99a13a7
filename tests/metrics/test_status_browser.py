"""/status in Chromium: what happens at a server is seen within seconds, as text, on a phone too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from xooai import Executor, InvalidArgument, post

pytest.importorskip("selenium", reason="it comes with: pip install -e '.[dev]'")
pytest.importorskip("uvicorn", reason="it comes with: pip install -e '.[http]'")

from selenium import webdriver
from selenium.webdriver.common.by import By

from browsing import until

pytestmark = pytest.mark.system

AT_ONCE = 0.0  # seconds of grace: a browser keeps its connections


class Busy(Executor):
    @post
    def work(self) -> str:
        return "done"

    @post
    async def refuse(self) -> str:
        raise InvalidArgument("no")

    @post(batch_size=4)
    async def batch(self, item: list[int]) -> list[int]:
        return item


@pytest.fixture
def busy() -> Iterator[Busy]:
    with Busy() as executor:
        yield executor


@pytest.fixture
def url(busy: Busy) -> str:
    return busy.start("http://127.0.0.1:0", grace=AT_ONCE)[0]


def seen(browser: webdriver.Chrome) -> str:
    return str(browser.find_element(By.TAG_NAME, "body").text)


def test_calls_that_are_made_now_are_seen_in_plots_and_tables(browser: webdriver.Chrome, busy: Busy, url: str) -> None:
    remote = Executor(f"{url}/busy")
    browser.get(f"{url}/status")
    until(browser, lambda page: "live" in seen(page))

    def is_drawn(page: webdriver.Chrome) -> bool:
        remote.post(on="work")
        remote.post(on="batch", item=[1, 2, 3, 4])
        with pytest.raises(InvalidArgument):
            remote.post(on="refuse")
        text = seen(page)
        return all(
            part in text
            for part in (
                "busy/work: ",
                "INVALID_ARGUMENT: ",
                "busy/batch: 4",
                "handle: ",
                "worker 0: ",
                "99 %: ",
                "full: ",
            )
        )

    until(browser, is_drawn)
    rows = [row.text.split() for row in browser.find_elements(By.CSS_SELECTOR, "#endpoints tbody tr")]
    [work] = [row for row in rows if row[0] == "busy/work"]
    assert work[1] == "http"
    assert int(work[2]) > 0
    label = browser.find_element(By.CSS_SELECTOR, "#plots svg").get_attribute("aria-label")
    assert label is not None
    assert label.startswith("Calls: ")
    assert browser.get_log("browser") == []


def test_a_server_that_leaves_is_told_of_and_one_that_comes_back_is_live(
    browser: webdriver.Chrome, busy: Busy, url: str
) -> None:
    browser.get(f"{url}/status")
    until(browser, lambda page: "live" in seen(page))

    busy.stop()
    until(browser, lambda page: "the server does not answer" in seen(page))
    with Busy() as again:
        again.start(url, grace=AT_ONCE)
        until(browser, lambda page: "live" in seen(page))


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: webdriver.Chrome, busy: Busy, url: str) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        Executor(f"{url}/busy").post(on="work")
        browser.get(f"{url}/status")
        until(browser, lambda page: "worker 0: " in seen(page))

        assert browser.execute_script("return document.documentElement.scrollWidth") == 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_names_are_shown_as_text_whatever_they_hold(browser: webdriver.Chrome, busy: Busy, url: str) -> None:
    browser.get(f"{url}/status")
    name = "<img src=x onerror=\"document.title='hit'\"></svg><script>document.title='hit'</script>"

    shown = browser.execute_script(
        """
        const made = Plot.plot(arguments[0], String, 60, "sum");
        document.body.append(made.section);
        made.push({[arguments[0]]: 1}, 1);
        return [made.section.textContent, made.section.querySelectorAll("img, script").length];
        """,
        name,
    )

    assert name in shown[0]
    assert shown[1] == 0
    assert browser.title == "xooai status"


def test_what_happened_between_two_reports_is_reckoned_right(browser: webdriver.Chrome, busy: Busy, url: str) -> None:
    def report(now: float, calls: int, slow: int, cpu: float) -> dict[str, Any]:
        names = {"executor": "reader", "endpoint": "read"}
        one = {**names, "driver": "http", "codes": {"OK": calls + slow}, "buckets": [calls, slow, 0]}
        stage = {**names, "stage": "handle", "seconds": calls * 0.5, "buckets": [calls, 0, 0]}
        batch = {**names, "reasons": {"full": calls}, "items": 4 * calls, "buckets": [0, calls, 0]}
        return {
            "now": now,
            "bounds": [0.1, 1.0],
            "calls": [{**one, "under_way": 1, "seconds": 1.0, "taken": 0, "given": 0}],
            "stages": [stage],
            "batches": [batch],
            "queues": [{"queue": "threads", "executor": "", "endpoint": "", "waiting": 3}],
            "workers": [{"worker": "0", "cpu": cpu, "memory": 5}],
        }

    browser.get(f"{url}/status")
    script = "return Rates.between(arguments[0], arguments[1])"
    found = browser.execute_script(script, report(12.0, 30, 10, 3.0), report(10.0, 10, 10, 2.0))
    restarted = browser.execute_script(script, report(12.0, 1, 0, 0.1), report(10.0, 10, 10, 2.0))
    put_back = browser.execute_script(script, report(9.0, 30, 10, 3.0), report(10.0, 10, 10, 2.0))

    assert put_back["calls"] == {"reader/read": 0}  # nobody knows how long that took
    assert found["calls"] == {"reader/read": 10.0}
    assert found["latency"] == {"median": 0.05, "95 %": 0.095, "99 %": pytest.approx(0.099)}
    assert found["stages"] == {"handle": 0.5}
    assert found["batches"] == {"reader/read": 4}
    assert found["reasons"] == {"full": 10.0}
    assert found["waiting"] == {"waiting: threads": 3, "under way": 1}
    assert found["processor"] == {"worker 0": 0.5}
    assert "-" not in json.dumps([restarted[name] for name in ("calls", "reasons", "errors", "processor")])


def test_a_worker_that_misses_a_look_makes_no_rate_jump(browser: webdriver.Chrome, busy: Busy, url: str) -> None:
    def report(now: float, *told: str) -> dict[str, Any]:
        calls = int(now * 100)  # 100 a second, of each
        one = {
            "executor": "reader",
            "endpoint": "read",
            "driver": "http",
            "codes": {"OK": calls},
            "buckets": [calls, 0],
        }
        parts: dict[str, Any] = {"stages": [], "batches": [], "queues": [], "counts": []}
        answers = [
            {
                "process": {"worker": worker, "started": 1.0, "cpu": now / 10, "memory": 5, "files": None},
                "calls": [{**one, "under_way": 1, "seconds": 1.0, "taken": 0, "given": 0}],
                **parts,
                "now": now,
            }
            for worker in told
        ]
        missing = [worker for worker in ("1", "2") if worker not in told]
        return {
            "now": now,
            "bounds": [0.1],
            "workers": [],
            "calls": [],
            **parts,
            "answers": answers,
            "missing": missing,
        }

    browser.get(f"{url}/status")
    reports = [report(100.0, "1", "2"), report(102.0, "1", "2"), report(104.0, "1"), report(106.0, "1", "2")]
    script = """
        const follow = Rates.following();
        let before = arguments[0][0];
        return arguments[0].map((report) => {
          const [was, now] = follow(report, before);
          before = report;
          const found = Rates.between(now, was);
          return [found.calls["reader/read"], found.rows[0].one.codes.OK, found.processor];
        });
    """
    first, steady, without, back = browser.execute_script(script, reports)

    assert [first[0], steady[0], without[0], back[0]] == pytest.approx([0, 200, 100, 200])
    assert [steady[1], without[1], back[1]] == [20400, 20600, 21200]
    assert back[2] == {"worker 1": pytest.approx(0.1), "worker 2": pytest.approx(0.1)}
