"""The dashboard for Grafana: it asks for what is told and nothing else, in words that Prometheus and Grafana understand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="it comes with: pip install -e '.[http]'")

from xooai.metrics.exposition import families
from xooai.metrics.process import Process
from xooai.metrics.report import COUNTS, Batches, Calls, Count, Counted, Queue, Slot, Stage
from xooai.tally import BOUNDS, SIZES

FILE = Path(__file__).parents[2] / "docs/grafana/xooai.json"
DASHBOARD = json.loads(FILE.read_text())
FUNCTIONS = {"sum", "rate", "increase", "histogram_quantile", "label_values"}
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
    assert unseen == {"xooai_build_info", "xooai_hedges_total", "xooai_idempotency_total"}


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
