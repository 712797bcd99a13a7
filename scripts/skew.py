"""Have clients of an earlier revision call servers of this tree, and the other way round, over all drivers.

    python3 scripts/skew.py [REVISION]

REVISION is the newest tag before this commit unless another is named. A wheel is built of it, and one of this tree; each is
installed, with all extras at the versions of its own lock, into a virtual environment of its own, in a temporary folder. The
checks are those of tests/skew. Ends with 1 where one fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from environment import ROOT, fail, prepare

CONTRACT = ROOT / "tests" / "skew"
PATIENCE = 300.0  # seconds for all checks over one driver, some ten: what hangs fails
ENDING = 60.0  # seconds for the servers to end: more than their grace


def output(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints; ends with what it complained of where it fails."""
    ended = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.stderr.write(ended.stdout[-4000:] + ended.stderr[-4000:])
        fail(f"this ended with {ended.returncode}, for the reason above: {' '.join(map(str, command))}")
    return ended.stdout


def asked(arguments: list[str]) -> str:
    """The revision to compare with, as a commit."""
    if len(arguments) > 1 or any(word.startswith("-") for word in arguments):
        fail(f"it takes one revision of git, or none for the newest tag; it was given: {' '.join(arguments)}")
    if not arguments:
        tags = output("git", "tag", "--sort=-creatordate", "--merged", "HEAD", "--no-contains", "HEAD").split()
        if not tags:
            print(
                "nothing was checked: there is no tag yet before this commit; a revision may be named, such as HEAD~20"
            )
            raise SystemExit(0)
        arguments = tags[:1]
    named = f"{arguments[0]}^{{commit}}"
    found = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", named],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if found.returncode != 0:
        fail(f"git knows no revision {arguments[0]!r}")
    return found.stdout.decode().strip()


def checked_out(commit: str, folder: Path) -> Path:
    """The files of a commit, in a folder."""
    folder.mkdir()
    packed = folder.with_suffix(".tar")
    output("git", "archive", "--output", packed, commit)
    output("tar", "-xf", packed, "-C", folder)
    return folder


def installed(tree: Path, environment: Path, builder: Path) -> Path:
    """The Python of a new environment that has the wheel of a tree, with all extras."""
    output(builder, "-m", "build", "--wheel", "--no-isolation", "--outdir", environment / "dist", tree)
    (wheel,) = (environment / "dist").glob("*.whl")
    output(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
    output(*pip, "--require-hashes", "--only-binary", ":all:", "-r", tree / "scripts" / "locks" / "all.txt")
    output(*pip, "--no-deps", wheel)
    return python


def held(server: Path, client: Path, work: Path) -> bool:
    """Whether all checks hold for servers and clients that these two Pythons run."""
    theirs, ours = work / "server", work / "client"
    theirs.mkdir(parents=True)
    ours.mkdir()
    command = [str(server), str(CONTRACT / "skew_server.py"), str(theirs)]
    log = theirs / "log"  # full of the errors that clients ask for
    with (
        log.open("w") as written,
        subprocess.Popen(
            command,
            cwd=theirs,
            env=clean(theirs),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        ) as serving,
    ):
        assert serving.stdin is not None
        assert serving.stdout is not None
        try:
            told = json.loads(serving.stdout.readline() or "{}")
            results = [called(client, url, told["trust"], ours) for url in told.get("urls", ())]
            serving.stdin.close()
            ended = serving.wait(ENDING)
        except subprocess.TimeoutExpired as error:
            print(f"FAILED: it did not end within {error.timeout:.0f} s: {error.cmd}", flush=True)
            return False
        finally:
            serving.kill()
    if ended != 0:
        print(f"FAILED: the server ended with {ended}; the end of its log:\n{log.read_text()[-4000:]}", flush=True)
    return bool(results) and all(results) and ended == 0


def called(client: Path, url: str, trust: str, folder: Path) -> bool:
    """Whether the checks hold over the driver of a URL; they print a line each."""
    command = [str(client), str(CONTRACT / "skew_client.py"), url, trust, str(folder)]
    return subprocess.run(command, cwd=folder, env=clean(folder), check=False, timeout=PATIENCE).returncode == 0


def clean(folder: Path) -> dict[str, str]:
    """An environment in which nothing but what is installed is imported, and nothing is kept but in this folder."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SSL_CERT_FILE")}
    return {**kept, "XOOAI_CACHE": str(folder / "cache")}


def main(arguments: list[str]) -> None:
    commit = asked(arguments)
    earlier = output("git", "log", "-1", "--format=%h (%cs)", commit).strip()
    builder = prepare("test")
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        print(f"building and installing {earlier} and this tree", flush=True)
        old = installed(checked_out(commit, work / "earlier"), work / "old", builder)
        new = installed(ROOT, work / "new", builder)
        pairs = {f"client {earlier}, server this tree": (new, old), f"client this tree, server {earlier}": (old, new)}
        failed = []
        for number, (title, (server, client)) in enumerate(pairs.items()):
            print(f"\n=== {title}", flush=True)
            if not held(server, client, work / f"pair{number}"):
                failed.append(title)
    if failed:
        fail(f"what is told above failed: {'; '.join(failed)}")
    print(f"\n{earlier} and this tree understand one another")


if __name__ == "__main__":
    main(sys.argv[1:])
