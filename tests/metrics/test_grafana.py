"""The dashboard for Grafana: it asks for what is told and nothing else, in words that Prometheus and Grafana understand."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import pytest

pytest.importorskip("prometheus_client", reason="it comes with: pip install -e '.[http]'")

from xooai import Executor, current, post
from xooai.metrics.exposition import families
from xooai.metrics.process import Process
from xooai.metrics.report import COUNTS, Batches, Calls, Count, Counted, Queue, Slot, Stage
from xooai.tally import BOUNDS, SIZES

FILE = Path(__file__).parents[2] / "docs/grafana/xooai.json"
DASHBOARD = json.loads(FILE.read_text())
FUNCTIONS = {"sum", "rate", "increase", "histogram_quantile", "label_values"}
PATIENCE = 60.0  # seconds: what Prometheus has not scraped twice by then it scrapes never
WORDS = {"by", "on", "and"}


def told() -> dict[str, set[str]]:
    """The labels of all samples that a server can have, by the sample's name."""
    names = ("reader", "read")
    long, wide = [1] * (len(BOUNDS) + 1), [1] * (len(SIZES) + 1)
    answer = Counted(
        Process("1", 1.0, 2.0, 3, 4, 5, 6),
        [Calls(*names, "http", {"OK": 1}, 1, 1.0, long, 1, 1)],
        [Stage(*names, "handle", 1.0, long)],
        [Batches(*names, {"full": 1}, 2, wide)],
        [Queue("threads", "", "", 1)],
        [Count(name, "what", *names, 1) for name in COUNTS],
    )
    found: dict[str, set[str]] = {}
    for family in families([answer], [Slot(1, "ready", "cuda:0", 2)], is_known=True):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def asked() -> Iterator[tuple[dict[str, Any], str]]:
    """Each query, and its panel."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel, target["expr"]


def test_each_metric_and_label_that_is_asked_for_is_told() -> None:
    known = told()
    for _, query in asked():
        bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", query)
        grouped = {name for group in re.findall(r"(?:by|on) \(([^)]*)\)", bare) for name in group.split(", ")}
        metrics = set(re.findall(r"[a-z_]{3,}", re.sub(r"\{[^}]*\}|(?:by|on) \([^)]*\)", "", bare))) - FUNCTIONS - WORDS
        chosen = set(re.findall(r"(\w+)=", bare))

        assert metrics
        assert metrics <= known.keys(), query
        labels = set().union(*(known[metric] for metric in metrics)) | {"job", "instance"}  # which Prometheus adds
        assert grouped | chosen <= labels, query


def test_each_metric_that_a_server_tells_of_its_calls_is_shown() -> None:
    text = " ".join(query for _, query in asked())
    own = {name for name in told() if name.startswith("xooai_") and not name.endswith("_created")}

    unseen = {name for name in own if re.sub(r"_(bucket|sum|count)$", "", name) not in text}
    assert unseen == {"xooai_build_info"}


def test_legends_name_labels_that_the_query_keeps() -> None:
    for panel in panels():
        for target in panel["targets"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            groups = re.findall(r"by \(([^)]*)\)", target["expr"])
            assert not groups or used <= set(groups[0].split(", ")), target


def test_panels_have_places_and_numbers_of_their_own() -> None:
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in every:
        place = panel["gridPos"]
        assert 0 < place["w"] <= 24 - place["x"]
        assert place["h"] > 0
    for one, other in combinations([panel["gridPos"] for panel in every], 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )


def test_it_may_be_used_with_any_prometheus() -> None:
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}

    assert list(variables) == ["datasource", "job", "instance", "executor"]
    assert variables["datasource"]["query"] == "prometheus"
    for panel in panels():
        assert {target["refId"] for target in panel["targets"]} == set("ABCDEF"[: len(panel["targets"])])
        for of in (panel, *panel["targets"]):
            assert of["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    used = set(re.findall(r"\$(\w+)", " ".join(query for _, query in asked())))
    assert used == {"job", "instance", "executor", "__rate_interval"}
    assert "http" not in FILE.read_text()


@pytest.mark.system
def test_prometheus_understands_each_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"checked:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$", "")}
        for number, (_, query) in enumerate(asked())
    ]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))

    ran = subprocess.run(
        [shutil.which("promtool") or "promtool", "check", "rules", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"SUCCESS: {len(rules)} rules found" in ran.stdout


class Twice(Executor):
    @post(idempotent=True)
    async def slow(self, seconds: float, again: float = 0.0) -> float:
        """Takes so long, and so long where it is called anew."""
        await asyncio.sleep(again if "xooai-retry-attempt" in current().metadata else seconds)
        return seconds


@contextmanager
def prometheus(target: str, place: Path) -> Iterator[str]:
    """One that asks a server for its metrics each second; its own URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = f"127.0.0.1:{free.getsockname()[1]}"
    job = {"job_name": "xooai", "static_configs": [{"targets": [target]}]}
    file = place / "prometheus.json"  # JSON is YAML
    file.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    options = [f"--config.file={file}", f"--storage.tsdb.path={place / 'data'}", f"--web.listen-address={own}"]
    with open(place / "log", "w") as log:
        process = subprocess.Popen([shutil.which("prometheus") or "prometheus", *options], stdout=log, stderr=log)
    try:
        yield f"http://{own}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def found(url: str, query: str) -> dict[str, float]:
    """What Prometheus answers, by the result; nothing while it does not."""
    given = urlencode({"query": query})
    try:
        with urlopen(f"{url}/api/v1/query?{given}", timeout=PATIENCE) as response:
            answer = json.load(response)
    except (URLError, ConnectionError):
        return {}
    return {one["metric"]["result"]: float(one["value"][1]) for one in answer["data"]["result"]}


@pytest.mark.system
@pytest.mark.parametrize(
    ("metric", "results"),
    [("xooai_hedges_total", {"first", "second"}), ("xooai_idempotency_total", {"ran", "answered"})],
)
def test_calls_made_twice_are_seen_in_their_panel(tmp_path: Path, metric: str, results: set[str]) -> None:
    pytest.importorskip("uvicorn")
    (query,) = [query for _, query in asked() if metric in query]
    for name, value in {"job": "xooai", "instance": ".*", "executor": ".*", "__rate_interval": "10s"}.items():
        query = query.replace(f"${name}", value)
    end = time.monotonic() + PATIENCE
    with Twice() as twice:
        url = twice.start("http://127.0.0.1:0")[0]
        with prometheus(urlsplit(url).netloc, tmp_path) as own, Twice.at(url, hedge=0.02) as client:
            number, seen = 0, set[str]()
            while seen != results:
                assert time.monotonic() < end, (tmp_path / "log").read_text()[-2000:]
                number += 1
                for _ in "ab":
                    client.post(seconds=0.0, metadata={"idempotency-key": f"key {number}"})
                client.post(seconds=0.1, again=1.0)
                client.post(seconds=0.3)
                seen = {result for result, rate in found(own, query).items() if rate > 0}
