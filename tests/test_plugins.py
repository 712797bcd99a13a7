"""Plugins: found by scheme, loaded on first use, and errors that say what to install."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xooai import Executor, PluginError, Text, XooaiError, plugins, post
from xooai.plugins import Plugin, driver, installed, open_store, store
from xooai.store import StoreOptions
from xooai.testing import MemoryStore

Install = Callable[..., Path]

# A driver that brings calls from one object to another, through nothing: what a third party's package looks like.
DRIVER = '''
"""A driver for {scheme}:// within one process."""

from xooai.driver import Outcome
from xooai.errors import error_from
from xooai.plugins import hookimpl

print("{module} is loaded")
SITES = {{}}


class Channel:
    def __init__(self, head, request):
        self.head, self.request, self.reply, self.outcome = head, request, None, None

    async def receive(self):
        frame, self.request = self.request, None
        return frame

    async def send(self, frame):
        raise NotImplementedError

    async def end(self, frame=None, outcome=Outcome()):
        self.reply, self.outcome = frame, outcome

    def abort(self):
        pass


class Client(Channel):
    def __init__(self, server):
        self.head, self.server, self.outcome = server.head, server, server.outcome

    async def receive(self):
        if self.outcome.code:
            raise error_from(self.outcome.code, self.outcome.message, self.outcome.details)
        return self.server.reply


class Link:
    def __init__(self, site):
        self.site = site

    async def open(self, head, request=None):
        channel = Channel(head, request)
        await self.site.accept(channel)
        return Client(channel)

    async def aclose(self):
        pass


class Listener:
    def __init__(self, url):
        self.url = url

    async def aclose(self, grace=0):
        SITES.pop(self.url)


class Driver:
    async def dial(self, url, options):
        return Link(SITES[url])

    async def listen(self, url, site, options):
        SITES[url] = site
        return Listener(url)


@hookimpl
def xooai_driver(scheme):
    return Driver() if scheme in {schemes} else None
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution with one module and its entry points, until the test ends."""
    monkeypatch.syspath_prepend(tmp_path)
    modules: list[str] = []

    def write(
        distribution: str, schemes: list[str], source: str, module: str = "", group: str = "xooai.drivers"
    ) -> Path:
        module = module or distribution.replace("-", "_")
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "".join(f"{scheme} = {module}\n" for scheme in schemes)
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        importlib.invalidate_caches()
        return tmp_path / f"{module}.py"

    yield write
    driver.cache_clear()
    store.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


def source(module: str, *schemes: str) -> str:
    return DRIVER.format(scheme=schemes[0], module=module, schemes=repr(schemes))


class Echo(Executor):
    @post
    def echo(self, doc: Text) -> Text:
        return doc


def test_a_third_partys_driver_serves_and_calls(install: Install) -> None:
    """A scheme that comes with another distribution is used as our own are."""
    install("acme-wire", ["acme"], source("acme_wire", "acme"))
    with Echo() as echo:
        (url,) = echo.start("acme://here")
        with Echo.at(url) as client:
            assert client.echo(doc=Text(value="x")).value == "x"
        with Executor(f"{url}/echo") as client:
            assert client.post(on="echo", doc=Text(value="y")).value == "y"
            with pytest.raises(XooaiError, match="'ecko'; did you mean 'echo'"):
                client.post(on="ecko")


def test_a_plugin_is_loaded_when_its_scheme_is_first_used(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    """Never at import, and not by listing it."""
    install("lazy-wire", ["lazy"], source("lazy_wire", "lazy"))
    assert "lazy_wire" not in sys.modules
    assert Plugin("xooai.drivers", "lazy", "lazy_wire", "lazy-wire") in installed()
    with Executor("lazy://nowhere/x"):
        assert "lazy_wire" not in sys.modules
    assert capsys.readouterr().out == ""

    assert driver("lazy") is driver("lazy")

    assert capsys.readouterr().out == "lazy_wire is loaded\n"


def test_one_module_may_serve_several_schemes(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("twin-wire", ["twin", "twins"], source("twin_wire", "twin", "twins"))
    assert type(driver("twin")) is type(driver("twins"))
    assert capsys.readouterr().out == "twin_wire is loaded\n"


def test_importing_xooai_loads_no_plugin() -> None:
    """No transport either: only what is used is imported."""
    program = (
        "import sys, xooai; from xooai import Executor, Image, post\n"
        "theirs = ('xooai_http', 'xooai_grpc', 'xooai_quic', 'xooai_fsspec', 'pytest', 'uvicorn', 'httptools', 'uvloop', "
        "'websockets', 'grpc', 'obstore', 'boto3')\n"
        "print([name for name in sys.modules if name.partition('.')[0] in theirs or name.startswith('xooai.testing')])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_importing_xooai_opens_starts_and_writes_nothing() -> None:
    """Design 3: no socket, no file, no thread."""
    program = (
        "import sys, threading\n"
        "seen = []\n"
        "def watch(event, args):\n"
        "    if event in ('socket.__new__', 'socket.connect', 'subprocess.Popen', 'os.mkdir', 'os.remove'):\n"
        "        seen.append(event)\n"
        "    writes = event == 'open' and isinstance(args[1], str) and set(args[1]) & set('wax+')\n"
        "    if writes and '__pycache__' not in str(args[0]):\n"
        "        seen.append(str(args))\n"
        "sys.addaudithook(watch)\n"
        "from xooai import Executor, Image, post\n"
        "print(seen, threading.active_count())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[] 1\n"


def test_our_own_schemes_are_listed_with_their_distribution() -> None:
    ours = [plugin for plugin in installed() if plugin.distribution == "xooai"]
    assert [(plugin.scheme, plugin.module) for plugin in ours] == [
        ("grpc", "xooai_grpc.plugin"),
        ("grpcs", "xooai_grpc.plugin"),
        ("http", "xooai_http.plugin"),
        ("https", "xooai_http.plugin"),
        ("memory", "xooai.testing.memory"),
        ("quic", "xooai_quic.plugin"),
        ("abfs", "xooai_fsspec.cloud"),
        ("abfss", "xooai_fsspec.cloud"),
        ("az", "xooai_fsspec.cloud"),
        ("file", "xooai_fsspec.local"),
        ("gcs", "xooai_fsspec.cloud"),
        ("gs", "xooai_fsspec.cloud"),
        ("http", "xooai_fsspec.web"),
        ("https", "xooai_fsspec.web"),
        ("memory", "xooai.testing.memory_store"),
        ("s3", "xooai_fsspec.cloud"),
        ("s3a", "xooai_fsspec.cloud"),
    ]


def test_a_scheme_that_nobody_serves_lists_the_known_ones(install: Install) -> None:
    with pytest.raises(PluginError, match=r"nothing serves gopher://; installed are: .*http://, https://"):
        driver("gopher")


def test_a_scheme_that_is_nearly_one_of_ours_is_told_so() -> None:
    with pytest.raises(PluginError, match=r"nothing serves htp://; did you mean 'http'\?; installed are: "):
        driver("htp")


@pytest.fixture
def coming(monkeypatch: pytest.MonkeyPatch) -> str:
    """A scheme of ours that no installed version serves."""
    monkeypatch.setitem(plugins.OWN["xooai.drivers"], "pigeon", "birds")
    return "pigeon"


def test_a_scheme_of_ours_that_is_not_installed_says_how_to_get_it(coming: str) -> None:
    with pytest.raises(PluginError, match=r"pigeon://.*try: pip install 'xooai\[birds\]'"):
        driver(coming)


def test_a_missing_extra_says_how_to_get_it() -> None:
    """As if the packages of the extra were not there."""
    program = (
        "import sys\n"
        "sys.modules['httptools'] = None\n"
        "from xooai import Executor\n"
        "try:\n    Executor('http://127.0.0.1:1/x').post(on='y')\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "PluginError http:// needs the module 'httptools'; try: pip install 'xooai[http]'\n"


def test_a_third_partys_missing_module_names_their_distribution(install: Install) -> None:
    install("poor-wire", ["poor"], "import a_module_that_is_not_there\n")
    with pytest.raises(
        PluginError, match="poor:// needs the module 'a_module_that_is_not_there'; try: pip install 'poor-wire'"
    ):
        driver("poor")


def test_a_shipped_scheme_is_not_taken_over(install: Install, coming: str) -> None:
    """Not silently; it stands in the list all the same."""
    install("evil-wire", ["http", coming], source("evil_wire", "http", coming))
    assert type(driver("http")).__module__ == "xooai_http.driver"
    with pytest.raises(PluginError, match=r"xooai\[birds\]"):
        driver(coming)
    assert "evil_wire" not in sys.modules
    assert Plugin("xooai.drivers", "http", "evil_wire", "evil-wire") in installed()


def test_a_scheme_that_two_claim_is_nobodys(install: Install) -> None:
    install("one-wire", ["both"], source("one_wire", "both"))
    install("two-wire", ["both"], source("two_wire", "both"))
    with pytest.raises(
        PluginError, match=r"both:// is claimed by several plugins \(one-wire, two-wire\); uninstall all but one"
    ):
        driver("both")
    assert {"one_wire", "two_wire"} & set(sys.modules) == set()


def test_a_module_without_a_hook_is_told(install: Install) -> None:
    install("empty-wire", ["empty"], '"""Nothing in here."""\n')
    with pytest.raises(PluginError, match="'empty_wire' is registered for empty:// and does not serve it"):
        driver("empty")


def test_a_hook_that_does_not_know_its_scheme_is_told(install: Install) -> None:
    install("shy-wire", ["shy"], source("shy_wire", "other"))
    with pytest.raises(PluginError, match="'shy_wire' is registered for shy:// and does not serve it"):
        driver("shy")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import nonsense syntax", "SyntaxError"),
        ("raise RuntimeError('no luck')", "no luck"),
        ("from xooai import NoSuchName", "NoSuchName"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_plugin_that_does_not_load_is_told(install: Install, body: str, said: str) -> None:
    install("broken-wire", ["broken"], body)
    with pytest.raises(PluginError, match="broken://.*broken-wire") as caught:
        driver("broken")
    assert said in str(caught.value)


def test_a_hook_with_other_parameters_is_told(install: Install) -> None:
    install(
        "odd-wire",
        ["odd"],
        "from xooai.plugins import hookimpl\n\n\n@hookimpl\ndef xooai_driver(url, options):\n    return None\n",
    )
    for _ in range(2):
        with pytest.raises(PluginError, match="'odd_wire' does not fit"):
            driver("odd")


def test_a_hook_of_another_name_is_told(install: Install) -> None:
    install(
        "typo-wire",
        ["typo"],
        "from xooai.plugins import hookimpl\n\n\n@hookimpl\ndef xooai_drivr(scheme):\n    return None\n",
    )
    for _ in range(2):
        with pytest.raises(PluginError, match="'typo_wire' does not fit.*xooai_drivr"):
            driver("typo")


def test_a_hook_that_fails_is_told(install: Install) -> None:
    install(
        "mad-wire",
        ["mad"],
        "from xooai.plugins import hookimpl\n\n\n@hookimpl\ndef xooai_driver(scheme):\n    raise RuntimeError('no luck')\n",
    )
    with pytest.raises(PluginError, match="mad://.*mad-wire.*no luck"):
        driver("mad")


@pytest.mark.parametrize(
    ("given", "missing"), [("object()", "dial"), ("3", "dial"), ("type('D', (), {'dial': print})()", "listen")]
)
def test_what_is_no_driver_is_told(install: Install, given: str, missing: str) -> None:
    install(
        f"half{len(given)}-wire",
        [f"half{len(given)}"],
        f"from xooai.plugins import hookimpl\n\n\n@hookimpl\ndef xooai_driver(scheme):\n    return {given}\n",
    )
    with pytest.raises(PluginError, match=rf"the driver for half{len(given)}:// has no {missing}\(\)"):
        driver(f"half{len(given)}")


def test_an_error_is_not_remembered(install: Install) -> None:
    """Once its package is repaired, a scheme works."""
    path = install("late-wire", ["late"], "1 / 0")
    with pytest.raises(PluginError):
        driver("late")
    path.write_text(source("late_wire", "late"))
    importlib.invalidate_caches()
    assert callable(driver("late").dial)


def test_stores_are_a_group_of_their_own(install: Install) -> None:
    """The same name in both groups is two plugins."""
    install("depot", ["acmes"], '"""A store."""\n', group="xooai.stores")
    assert Plugin("xooai.stores", "acmes", "depot", "depot") in installed()
    with pytest.raises(PluginError, match="nothing serves acmes://"):
        driver("acmes")


def test_a_plugin_that_is_an_object_in_a_module_is_found(install: Install) -> None:
    text = source("inner_wire", "inner").replace("\n@hookimpl\n", "\nclass Plugin:\n    @hookimpl\n")
    text = text.replace("def xooai_driver(scheme):", "    def xooai_driver(self, scheme):").replace(
        "    return Driver() if", "        return Driver() if"
    )
    path = install("inner-wire", [], text + "\n\nplugin = Plugin()\n")
    info: Any = path.parent / "inner_wire-1.0.dist-info" / "entry_points.txt"
    info.write_text("[xooai.drivers]\ninner = inner_wire:plugin\n")
    importlib.invalidate_caches()
    assert callable(driver("inner").listen)


def test_an_operator_names_whose_plugins_are_loaded(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("Near_Wire", ["near"], source("near_wire", "near"), module="near_wire")
    monkeypatch.setenv("XOOAI_PLUGINS", "other, elsewhere")
    with pytest.raises(
        PluginError, match=r"near:// is served by near-wire, which XOOAI_PLUGINS does not name; it names: other"
    ):
        driver("near")
    assert "is loaded" not in capsys.readouterr().out
    monkeypatch.setenv("XOOAI_PLUGINS", "other, near.wire")
    driver("near")
    assert "near_wire is loaded" in capsys.readouterr().out
    monkeypatch.setenv("XOOAI_PLUGINS", "")
    driver("http")


# Stores

STORE = """
from xooai.plugins import hookimpl
from xooai.testing import MemoryStore
print("{module} is loaded")


class Opener:
    def open(self, url, options):
        return {made}


@hookimpl
def xooai_store(scheme):
    return Opener() if scheme == {scheme!r} else None
"""


def test_a_third_partys_store_is_opened_by_its_scheme(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    """Loaded when its scheme is first used."""
    text = STORE.format(module="acme_attic", scheme="attic", made="MemoryStore(url, options.name)")
    install("acme-attic", ["attic"], text, group="xooai.stores")
    assert capsys.readouterr().out == ""

    found = open_store("attic://under/the/roof", StoreOptions(name="ours"))

    assert type(found) is MemoryStore
    assert (found.name, found.url) == ("ours", "memory://attic://under/the/roof")
    assert capsys.readouterr().out == "acme_attic is loaded\n"
    assert Plugin("xooai.stores", "attic", "acme_attic", "acme-attic") in installed()


def test_a_plain_path_is_a_directory() -> None:
    assert open_store("some/where").url == f"file://{Path.cwd()}/some/where"


def test_a_scheme_of_stores_that_nobody_serves_lists_the_known_ones() -> None:
    with pytest.raises(PluginError, match=r"nothing serves gopher://; installed are: .*file://, .*memory://"):
        open_store("gopher://x/y")


def test_a_driver_is_no_store() -> None:
    with pytest.raises(PluginError, match="nothing serves quic://"):
        open_store("quic://127.0.0.1:1")


@pytest.mark.parametrize(
    ("made", "missing"), [("object()", "put"), ("type('S', (), dict(put=print, get=print))()", "aclose")]
)
def test_what_is_no_store_is_told(install: Install, made: str, missing: str) -> None:
    install(f"no-{missing}", ["bad"], STORE.format(module=missing, scheme="bad", made=made), group="xooai.stores")
    with pytest.raises(PluginError, match=rf"the store at bad:// has no {missing}\(\); see xooai.store.Store"):
        open_store("bad://x")


def test_what_opens_no_stores_is_told(install: Install) -> None:
    text = "from xooai.plugins import hookimpl\n\n\n@hookimpl\ndef xooai_store(scheme):\n    return 3\n"
    install("three-attic", ["three"], text, group="xooai.stores")
    with pytest.raises(PluginError, match=r"the store for three:// has no open\(\); see xooai.store.Opener"):
        open_store("three://x")
