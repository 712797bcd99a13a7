"""How a release is supplied: its bill of materials, and the workflow that publishes it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from surroundings import unmeasured

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
SLOW = ROOT / ".github" / "workflows" / "slow.yml"
PINNED = r"uses: (\S+@[0-9a-f]{40}) # v\d+\.\d+\.\d+\n"
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
PATIENCE = 120  # seconds for a process


# The bill of materials


def written(folder: Path) -> Path:
    """Run the script that a release runs; return the file that it names."""
    command = [sys.executable, str(ROOT / "scripts" / "bill.py"), str(folder)]
    ended = subprocess.run(command, env=unmeasured(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, ended.stderr
    return Path(ended.stdout.strip())


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip(
        "cyclonedx_py", reason="the bill is made by cyclonedx-bom; it comes with: pip install -e '.[dev]'"
    )
    return written(tmp_path_factory.mktemp("bill"))


def test_the_bill_of_materials_is_of_this_version(bill: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = json.loads(bill.read_text())

    assert bill.name == f"xooai-{project['version']}.cdx.json"
    assert found["bomFormat"] == "CycloneDX"
    assert found["metadata"]["component"]["name"] == "xooai"
    assert found["metadata"]["component"]["version"] == project["version"]


def test_the_bill_of_materials_lists_the_packages_of_the_lock_with_the_hashes_of_their_files(bill: Path) -> None:
    lines = (ROOT / "scripts" / "locks" / "all.txt").read_text().replace("\\\n", "").splitlines()
    locked = {f"pkg:pypi/{line.split()[0].replace('==', '@')}": set(HASH.findall(line)) for line in lines}

    listed = {
        part["purl"]: {hashed["content"] for place in part["externalReferences"] for hashed in place["hashes"]}
        for part in json.loads(bill.read_text())["components"]
    }

    assert all(locked.values())
    assert {"pydantic", "uvicorn", "pillow"} <= {purl[len("pkg:pypi/") :].partition("@")[0] for purl in locked}
    assert listed == locked


@pytest.mark.slow
def test_the_same_lock_gives_the_same_bill_of_materials(bill: Path, tmp_path: Path) -> None:
    assert written(tmp_path).read_bytes() == bill.read_bytes()


# The workflow that publishes


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="reading a workflow needs pyyaml; it comes with: pip install -e '.[dev]'")
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())
    return found


def steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job["steps"]
    return found


def test_a_release_is_published_without_a_password_or_a_token(workflow: dict[str, Any]) -> None:
    (upload,) = [step for step in steps(workflow["jobs"]["publish"]) if "pypi-publish" in step["uses"]]

    assert "with" not in upload
    assert "secrets." not in WORKFLOW.read_text()


def test_only_the_job_that_publishes_may_prove_its_identity_and_it_runs_nothing_of_ours(
    workflow: dict[str, Any],
) -> None:
    jobs = workflow["jobs"]
    rights = {name: job["permissions"] for name, job in jobs.items()}

    assert workflow["permissions"] == {}
    assert rights == {"build": {"contents": "read"}, "publish": {"id-token": "write"}, "bill": {"contents": "write"}}
    assert [step["uses"].partition("@")[0] for step in steps(jobs["publish"])] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]


def test_every_action_is_pinned_by_its_commit_and_says_its_version(workflow: dict[str, Any]) -> None:
    used = [step["uses"] for job in workflow["jobs"].values() for step in steps(job) if "uses" in step]
    pinned = re.findall(PINNED, WORKFLOW.read_text())

    assert used == pinned


def test_what_is_published_is_what_was_tested_and_built_from_the_lock(workflow: dict[str, Any]) -> None:
    jobs = workflow["jobs"]
    commands = [step["run"] for step in steps(jobs["build"]) if "run" in step]

    assert commands[:3] == [
        "python3 scripts/test.py",
        ".venv/bin/python -m build --no-isolation --outdir dist",
        ".venv/bin/python scripts/bill.py bill",
    ]
    assert jobs["publish"]["needs"] == "build"
    assert jobs["bill"]["needs"] == "publish"


# The workflow that tests for long


def test_what_takes_long_is_run_each_week_by_the_commands_that_are_documented() -> None:
    yaml = pytest.importorskip("yaml", reason="reading a workflow needs pyyaml; it comes with: pip install -e '.[dev]'")
    text = SLOW.read_text()
    workflow = yaml.safe_load(text)
    jobs = workflow["jobs"].values()
    told = (ROOT / "CONTRIBUTING.md").read_text()

    assert workflow["permissions"] == {}
    assert all(job["permissions"] == {"contents": "read"} for job in jobs)
    assert {"schedule", "workflow_dispatch"} == set(workflow[True])  # as YAML 1.1 reads `on`
    assert [step["uses"] for job in jobs for step in steps(job) if "uses" in step] == re.findall(PINNED, text)
    commands = [step["run"] for job in jobs for step in steps(job) if "run" in step]
    assert [command[command.index("python3 ") :] for command in commands] == [
        "python3 scripts/test.py -m slow",
        'python3 scripts/system_test.py -m "slow and system"',
        "python3 scripts/skew.py",
    ]
    assert all(f"| `{command}" in told for command in ("python3 scripts/test.py -m slow", "python3 scripts/skew.py"))
    assert "| `python3 scripts/system_test.py -m 'slow or system'`" in told  # those of both, and more
