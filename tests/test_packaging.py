"""What is installed: the wheel's content, what it depends on, what importing it does, what happens without an extra."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from email import message_from_string
from importlib.metadata import distributions as installed
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from surroundings import unmeasured

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"test": "dev", "demo": "demo", "all": "all"}
"""Each lock, and the extra that it is of."""
DRIVERS = {"xooai_http": "http", "xooai_grpc": "grpc", "xooai_quic": "quic"}
"""Each driver's package, and the extra that it needs."""
STORES: dict[str, str | None] = {"xooai_fsspec": None}
"""Each store's package, and the extra that all of it needs."""
PLUGINS = {**DRIVERS, **STORES}
OBJECTS = ("cloud.py", "failures.py", "objects.py", "places.py", "upload.py", "web.py")
EXTRAS = {"over_qh3.py": "quic-fast", **dict.fromkeys(OBJECTS, "stores"), "s3.py": "s3"} | dict.fromkeys(
    ("spans.py", "trace.py", "tracing.py"), "otel"
)
"""Modules that run under an extra of their own."""
PATIENCE = 120  # seconds for a process


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


@functools.cache
def requirements(extra: str | None) -> list[Requirement]:
    """The requirements of an extra with those that it names of xooai's own, or of the core alone."""
    table = project()["optional-dependencies"]
    found = [Requirement(line) for line in (table[extra] if extra else project()["dependencies"])]
    own = [requirement for requirement in found if requirement.name == "xooai"]
    nested = [inner for requirement in own for name in sorted(requirement.extras) for inner in requirements(name)]
    return [requirement for requirement in found if requirement.name != "xooai"] + nested


def python(code: str, *, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run code in a process of its own; return what it prints."""
    command = [sys.executable, "-B", "-W", "error", "-c", code]
    ended = subprocess.run(
        command,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built as `pip install` builds it."""
    pytest.importorskip(
        "hatchling", reason="building the wheel needs hatchling; it comes with: pip install -e '.[dev]'"
    )
    if not (ROOT / "xooai").is_dir():
        pytest.skip("the source is not here; scripts/check_package.py has built the wheel from it")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    ended = subprocess.run(
        command, cwd=ROOT, env=unmeasured(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as opened:
        yield opened


def test_the_wheel_holds_the_core_the_drivers_the_stores_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())

    assert {name.partition("/")[0] for name in names} == {
        "xooai",
        *PLUGINS,
        f"xooai-{project()['version']}.dist-info",
    }
    assert {f"{package}/{file}" for package in ("xooai", *PLUGINS) for file in ("__init__.py", "py.typed")} <= names
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_the_wheel_holds_every_file_of_the_source(wheel: zipfile.ZipFile) -> None:
    source = {
        path.relative_to(folder).as_posix()
        for folder, package in (
            (ROOT, "xooai"),
            *((ROOT / "drivers", driver) for driver in DRIVERS),
            *((ROOT / "stores", store) for store in STORES),
        )
        for path in (folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert source - set(wheel.namelist()) == set()


def test_the_wheel_has_its_licence_its_commands_and_a_scheme_for_each_plugin(wheel: zipfile.ZipFile) -> None:
    info = f"xooai-{project()['version']}.dist-info"
    metadata = message_from_string(wheel.read(f"{info}/METADATA").decode())
    entry_points = wheel.read(f"{info}/entry_points.txt").decode()

    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Apache License" in wheel.read(f"{info}/licenses/LICENSE").decode()
    assert metadata["Requires-Python"] == ">=3.11"
    assert "xooai = xooai.cli:main" in entry_points
    drivers = entry_points.partition("[xooai.drivers]\n")[2].partition("\n\n")[0].splitlines()
    assert sorted(drivers) == [
        "grpc = xooai_grpc.plugin",
        "grpcs = xooai_grpc.plugin",
        "http = xooai_http.plugin",
        "https = xooai_http.plugin",
        "memory = xooai.testing.memory",
        "quic = xooai_quic.plugin",
    ]
    stores = entry_points.partition("[xooai.stores]\n")[2].partition("\n\n")[0].splitlines()
    assert sorted(stores) == [
        "abfs = xooai_fsspec.cloud",
        "abfss = xooai_fsspec.cloud",
        "az = xooai_fsspec.cloud",
        "file = xooai_fsspec.local",
        "gcs = xooai_fsspec.cloud",
        "gs = xooai_fsspec.cloud",
        "http = xooai_fsspec.web",
        "https = xooai_fsspec.web",
        "memory = xooai.testing.memory_store",
        "s3 = xooai_fsspec.cloud",
        "s3a = xooai_fsspec.cloud",
    ]


# What it depends on


def test_the_extras_are_those_that_the_documentation_names() -> None:
    extras = "cli http grpc quic quic-fast stores s3 fetch media otel testing yaml all demo examples dev".split()
    assert set(project()["optional-dependencies"]) == set(extras)


def test_every_requirement_names_a_package_of_the_registry_and_no_place() -> None:
    lines = [
        *project()["dependencies"],
        *(line for extra in project()["optional-dependencies"].values() for line in extra),
    ]

    assert [line for line in lines if Requirement(line).url is not None] == []


def sources() -> Iterator[tuple[Path, str | None]]:
    """The installed modules of the core and of each driver, with the extra under whose requirements they run."""
    for package, brings in (("xooai", None), *PLUGINS.items()):
        root = Path(_folders(package)[0])
        for path in root.rglob("*.py"):
            folder = path.relative_to(root).parts[0]
            extra = EXTRAS.get(path.name, brings)
            yield path, folder if package == "xooai" and folder in ("cli", "fetch", "testing") else extra


def imported(path: Path) -> Iterator[str]:
    """The top-level modules that a file imports, those imported by name at run time among them (`lazily:`)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "load", "__import__") and isinstance(node.args[0].value, str):
                yield f"lazily:{node.args[0].value.partition('.')[0]}"


def distributions(names: Iterable[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in names}


def test_all_that_the_wheel_imports_is_declared() -> None:
    providers = packages_distributions()
    typed = set()  # imported for a type checker only
    undeclared = set()
    for path, extra in sources():
        core = distributions(requirements(None))
        declared = core | (distributions(requirements(extra)) if extra else set())
        anywhere = distributions(requirements("all")) | declared
        for name in imported(path):
            module, allowed = name.removeprefix("lazily:"), anywhere if name.startswith("lazily:") else declared
            if module in sys.stdlib_module_names or module in ("xooai", *PLUGINS) or module not in providers:
                continue
            found = {canonicalize_name(provider) for provider in providers[module]}
            if not found & allowed and "TYPE_CHECKING" in path.read_text() and found & anywhere:
                typed.add(module)
            elif not found & allowed:
                undeclared.add(f"{path.name} imports {module} of {', '.join(sorted(found))}")

    assert undeclared == set()
    assert typed <= {"numpy", "PIL"}


NAMED = r"(?:\[[a-z0-9, -]+\])?"


def locked(purpose: str) -> dict[str, list[str]]:
    """The versions that a lock holds, by name: more than one where they differ between Pythons."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "scripts" / "locks" / f"{purpose}.txt").read_text().splitlines():
        if pinned := re.match(rf"([a-z0-9-]+){NAMED}==([^ ;]+)", line):
            found.setdefault(pinned[1], []).append(pinned[2])
    return found


@pytest.mark.parametrize("purpose", LOCKS)
def test_a_lock_pins_each_package_by_version_and_hash_from_the_registry_alone(purpose: str) -> None:
    text = (ROOT / "scripts" / "locks" / f"{purpose}.txt").read_text()
    entries = text.replace("\\\n", "").splitlines()

    assert [
        entry
        for entry in entries
        if not re.fullmatch(rf"[a-z0-9-]+{NAMED}==\S+( ; [^-]*?)?( +--hash=sha256:[0-9a-f]{{64}})+", entry)
    ] == []
    assert "://" not in text


@pytest.mark.parametrize(("purpose", "extra"), LOCKS.items())
def test_a_lock_fits_what_is_declared(purpose: str, extra: str) -> None:
    versions = locked(purpose)
    builders = () if purpose == "all" else ("hatchling", "editables")

    for requirement in (*requirements(None), *requirements(extra), *map(Requirement, builders)):
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not in the lock; python3 scripts/lock.py writes it anew"
        assert list(requirement.specifier.filter(versions[name], prereleases=True)), f"{requirement}: {versions[name]}"


@pytest.mark.parametrize("purpose", LOCKS)
def test_a_lock_names_the_extras_that_its_packages_ask_for(purpose: str) -> None:
    """Where it does not, pip before 23.3 finds the newest release of such a package, of which the lock has no hash."""
    text = (ROOT / "scripts" / "locks" / f"{purpose}.txt").read_text()
    named = {
        found[1]: set(found[2].split(", ")) for found in re.finditer(r"^([a-z0-9-]+)\[(.+?)\]==", text, re.MULTILINE)
    }
    present = {str(canonicalize_name(one.name)): one for one in installed()}
    asked = [
        (name, requirement)
        for name in locked(purpose)
        for requirement in map(Requirement, present[name].requires or () if name in present else ())
        if requirement.extras and (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
    ]

    for name, requirement in asked:
        found = named.get(canonicalize_name(requirement.name), set())
        assert requirement.extras <= found, f"{name} asks for {requirement}"


def test_the_locks_hold_the_same_versions() -> None:
    versions = locked("test")

    for purpose in LOCKS:
        assert {name: held for name, held in locked(purpose).items() if held != versions.get(name)} == {}


# What importing it does

WATCHED = """
import sys, threading
import pydantic, msgspec, fsspec, pluggy
events = []
def watch(event, args):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.mkdir", "os.remove", "os.rename"):
        events.append(event)
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        events.append(f"open {args[0]} {args[1]}")
sys.addaudithook(watch)
import xooai
for name in xooai.__all__:
    getattr(xooai, name)
import json
print(json.dumps({"events": events, "threads": threading.active_count(), "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def importing() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(python(WATCHED))
    return found


def test_importing_opens_no_socket_writes_no_file_and_starts_no_thread(importing: dict[str, Any]) -> None:
    assert importing["events"] == []
    assert importing["threads"] == 1


def test_importing_loads_no_plugin_and_nothing_of_an_extra(importing: dict[str, Any]) -> None:
    optional = {
        *PLUGINS,
        "uvicorn",
        "httptools",
        "uvloop",
        "websockets",
        "grpc",
        "click",
        "rich",
        "numpy",
        "PIL",
        "av",
        "soundfile",
    }
    optional |= {"h11", "idna", "obstore", "boto3", "aioquic", "cryptography", "pylsqpack", "qh3", "service_identity"}

    assert optional & set(importing["modules"]) == set()


def test_the_watch_sees_a_socket_a_file_and_a_thread(tmp_path: Path) -> None:
    file = tmp_path / "a"
    deeds = [
        "import socket, threading",
        "socket.socket().close()",
        f"open({str(file)!r}, 'w').close()",
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
    ]

    found = json.loads(python(WATCHED.replace("import xooai\n", f"import xooai; {'; '.join(deeds)}\n")))

    assert [event.partition(" ")[0] for event in found["events"]] == ["socket.__new__", "open"]
    assert found["threads"] == 2


# Without an extra


def without(folder: Path, *packages: str) -> str:
    """First line of a program that runs as where these packages are not installed: with links to all others."""
    site = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    for entry in (entry for place in site for entry in Path(place).iterdir()):
        if re.split("[-.]", entry.name)[0] not in packages and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    source = {str(Path(root).parent) for package in ("xooai", *PLUGINS) for root in _folders(package)} - site
    return f"import sys; sys.path[:] = [p for p in sys.path if p not in {site | {''}}] + {[str(folder), *source]}\n"


def _folders(package: str) -> list[str]:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return list(spec.submodule_search_locations)


def test_a_scheme_whose_extra_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    code = (
        without(tmp_path, "uvicorn", "httptools")
        + """
from xooai import Executor, PluginError, Text, post
class E(Executor):
    @post
    def echo(self, doc: Text) -> Text:
        return doc
print(E().post(on="echo", doc=Text(value="in process")).read())
try:
    E().start("http://127.0.0.1:0")
except PluginError as error:
    print(error)
"""
    )
    in_process, refusal = python(code).splitlines()

    assert in_process == "in process"
    assert re.fullmatch(
        r"http:// needs the module '(uvicorn|httptools)[a-z._]*'; try: pip install 'xooai\[http\]'", refusal
    )


def test_the_command_line_without_its_extra_says_how_to_get_it_and_lists_plugins(tmp_path: Path) -> None:
    code = (
        without(tmp_path, "click", "rich")
        + """
sys.stderr = sys.stdout
from xooai.cli import main
for command in ("serve", "plugins"):
    try:
        main([command])
    except SystemExit as end:
        print(command, end.code)
"""
    )
    said = python(code)

    assert "try: pip install 'xooai[cli]'\nserve 1\n" in said
    assert re.search(r"https://.* xooai_http\.plugin", said)
    assert said.endswith("plugins 0\n")


def test_the_suites_without_their_extra_say_how_to_get_them_and_what_is_in_memory_works(tmp_path: Path) -> None:
    code = (
        without(tmp_path, "pytest", "_pytest")
        + """
from xooai import Executor, PluginError, Text, post
import xooai.testing
class E(Executor):
    @post
    def echo(self, doc: Text) -> Text:
        return doc
with E() as e:
    e.start("memory://e")
    with E.at("memory://e") as there:
        print(there.echo(doc=Text(value="by memory")).read())
print(xooai.testing.MemoryStore("e").url)
for suite in ("DriverTests", "StoreTests"):
    try:
        getattr(xooai.testing, suite)
    except PluginError as error:
        print(error)
"""
    )

    assert python(code).splitlines() == [
        "by memory",
        "memory://e",
        "DriverTests needs pytest; try: pip install 'xooai[testing]'",
        "StoreTests needs pytest; try: pip install 'xooai[testing]'",
    ]


def test_fetching_without_its_extra_says_how_to_get_it(tmp_path: Path) -> None:
    code = (
        without(tmp_path, "h11", "idna")
        + """
import asyncio
from xooai import PluginError, fetch
policy = fetch.FetchPolicy(hosts={"*", "127.0.0.1"}, networks={"127.0.0.0/8"})
for url in ("http://127.0.0.1/", "http://b\u00fccher.example/"):
    try:
        asyncio.run(fetch.open(url, policy))
    except PluginError as error:
        print(error)
"""
    )

    assert python(code).splitlines() == [
        "fetching a URL needs h11; try: pip install 'xooai[fetch]'",
        "a URL with letters beyond ASCII needs idna; try: pip install 'xooai[fetch]'",
    ]


# Nothing is downloaded


@pytest.mark.system
def test_the_demo_needs_no_network(tmp_path: Path) -> None:
    command = 'ip link set lo up && exec "$0" "$1"'
    demo = ROOT / "examples" / "demo.py"
    ended = subprocess.run(
        ["unshare", "--net", "sh", "-c", command, sys.executable, str(demo)],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    assert "TOTAL" in ended.stdout
