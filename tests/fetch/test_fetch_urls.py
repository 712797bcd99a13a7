"""How the fetcher reads URLs: where it says yes, every other parser means the same host."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from importlib import import_module
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xooai.fetch.url import Target, read_location, read_url

pytest.importorskip("idna")

# fmt: off
READ = {
    "http://example.com": Target("http", "example.com", 80, "/"),
    "HTTPS://Example.COM/A?b#c": Target("https", "example.com", 443, "/A?b"),
    "https://example.com:8443?a=/b@c:d": Target("https", "example.com", 8443, "/?a=/b@c:d"),
    "http://a_b.example:00080/": Target("http", "a_b.example", 80, "/"),
    "http://192.0.2.1/": Target("http", "192.0.2.1", 80, "/"),
    "http://[2001:DB8:0::1]:81/": Target("http", "2001:db8::1", 81, "/"),
    "http://host/a%20b%2F/ü\"<>`{}|^[]'": Target("http", "host", 80, "/a%20b%2F/%C3%BC%22%3C%3E%60%7B%7D|^[]'"),
    "http://faß.example/": Target("http", "xn--fa-hia.example", 80, "/"),
    "http://BÜCHER。example/": Target("http", "xn--bcher-kva.example", 80, "/"),
    "http://xn--bcher-kva.example/": Target("http", "xn--bcher-kva.example", 80, "/"),
    "http://\uff11\uff12\uff17\uff0e\uff10\uff0e\uff10\uff0e\uff11/": Target("http", "127.0.0.1", 80, "/"),
}
REFUSED = {
    "a user name or password": ("http://a@host/", "http://a:b@host/", "http://host@evil/", "http://@host/", "http://a:b%40@host"),
    "a backslash": ("http://host\\@evil/", "http:\\\\host/", "http://host/a\\b"),
    "a space": ("http://host /", " http://host/", "http://host/a b", "http://host/ "),
    "a control character": ("http://ho\tst/", "http://host/\r\nX: y", "http://host/\n", "http://host\x00.evil/", "http://host/\x7f"),
    "a lone surrogate": ("http://host/\ud800",),
    "only http:// and https://": (
        "", "host", "//host/", "/etc/passwd", "file:///etc/passwd", "ftp://host/", "http:/host/", "http:host", "s3://a/b",
        "data:,x", "store:sha256:0", "http+unix://a/", "http\u017f://host/", "zip://a::http://host/", "javascript:alert(1)",
    ),
    "it has no host": ("http://", "http:///evil.example/", "https://:443/", "http://?a", "http://#a"),
    "no IPv6 address": (
        "http://[]/", "http://[v1.a]/", "http://[::g]/", "http://[1.2.3.4]/", "http://[:::]/", "http://[::1.2.3]/",
        "http://[0:0:0:0:0:0:0:0:1]/", "http://[::01.2.3.4]/",
    ),
    "escaped, or has a zone": ("http://ex%61mple.com/", "http://%31%32%37.0.0.1/", "http://[fe80::1%25eth0]/", "http://[fe80::1%1]/"),
    "written as host:port": ("http://[::1", "http://host:/", "http://host:x/", "http://host:80:80/", "http://::1/", "http://host:-1/",
                             "http://host:999999/", "http://[::1]x/", "http://x[::1]/", "http://host:\uff18\uff10/"),
    "no IPv4 address": (
        "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://127.0.0.01/",
        "http://1.2.3.4.5/", "http://256.1.1.1/", "http://a.1/", "http://a.0x/", "http://0x/", "http://①②⑦.1/",
    ),
    "is no name": (
        "http://a..b/", "http://.a/", "http://a./", "http://127.0.0.1./", "http://-a/", "http://a-/", "http://a!b/", "http://a,b/",
        "http://a;b/", "http://a'b/", "http://*.a/", f"http://{'a' * 64}/", "http://host<evil/", "http://a\"b/", "http://a=b/",
    ),
    "no internationalised name": ("http://xn--a/", "http://xn--/", "http://\u202eevil/", "http://ﬀ\uffff/",
                                  "http://host℀evil.example/", "http://a\u2025b/"),
    "more than 253": (f"http://{'a.' * 130}b/",),
    "more than 8,192": (f"http://host/{'a' * 8192}",),
}
# fmt: on


@pytest.mark.parametrize("text", READ)
def test_a_url_is_read(text: str) -> None:
    assert read_url(text) == READ[text]


@pytest.mark.parametrize(("wrong", "texts"), REFUSED.items())
def test_what_could_be_read_otherwise_is_refused_with_the_reason(wrong: str, texts: tuple[str, ...]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=re.escape(wrong)):
            read_url(text)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b", "https://host:8443/b"),
        ("b", "https://host:8443/dir/b"),
        ("../../b", "https://host:8443/b"),
        ("?b", "https://host:8443/dir/a?b"),
        ("#b", "https://host:8443/dir/a"),
        ("//other/b", "https://other/b"),
        ("http://other/b", "http://other/b"),
        ("/..//other/b", "https://host:8443/..//other/b"),
        ("/@other", "https://host:8443/@other"),
    ],
)
def test_where_a_redirect_leads_is_read(location: str, url: str) -> None:
    assert read_location(location, read_url("https://host:8443/dir/a")).url == url


@pytest.mark.parametrize(
    "location",
    [
        "///evil/",
        "//a@evil/",
        "/\\evil/",
        "\t//evil/",
        "https:evil",
        "https:/evil",
        "file:///etc/passwd",
        "//evil:/",
        "http:///evil",
    ],
)
def test_where_a_redirect_could_lead_elsewhere_it_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="its host|only http|it h"):
        read_location(location, read_url("https://host:8443/dir/a"))


def of_httpx(url: str) -> tuple[str, str, int | None]:
    httpx = import_module("httpx")
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as error:  # which is no ValueError
        raise ValueError(str(error)) from error
    return found.scheme, found.raw_host.decode(), found.port


def of_yarl(url: str) -> tuple[str, str, int | None]:
    found = import_module("yarl").URL(url)
    return found.scheme, found.raw_host, found.port


def of_urllib3(url: str) -> tuple[str, str, int | None]:
    found = import_module("urllib3.util").parse_url(url)
    return found.scheme, found.host, found.port


def of_standard_library(url: str) -> tuple[str, str, int | None]:
    found = urlsplit(url)
    host = found.hostname or ""
    return found.scheme, host if host.isascii() else of_httpx(url)[1], found.port


def of_ada(url: str) -> tuple[str, str, int | None]:
    found = import_module("can_ada").parse(url)
    return found.protocol.rstrip(":"), found.hostname, int(found.port) if found.port else None


PARTS = [
    *"abz019-_.:/?#@[]%\\ \t\n;&='!~|^`\"<>{}",
    *(
        "http://",
        "https://",
        "//",
        "::",
        "..",
        "0x",
        "xn--",
        "%2e",
        "%00",
        "127",
        "255",
        "1.2.3.4",
        "[::1]",
        "localhost",
        "example.com",
    ),
    *(
        "。",
        "\uff0e",
        "\uff11",
        "①",
        "ß",
        "ü",
        "İ",
        "\u017f",
        "ﬀ",
        "\u200d",
        "\u00ad",
        "℀",
        "💩",
        "א",
        "\ufeff",
        "\u3000",
        "\u0130",
    ),
]
HOSTS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join) | st.text(min_size=1, max_size=8)
URLS = st.builds(
    "{}{}{}".format,
    st.sampled_from(["http://", "https://", "HTTP://"]),
    HOSTS,
    st.sampled_from(["", "/", ":81/a", "?a", "#a"]),
)


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("httpx", of_httpx),
        ("yarl", of_yarl),
        ("urllib3", of_urllib3),
        ("httpx", of_standard_library),
        ("can_ada", of_ada),
    ],
    ids=["httpx", "yarl", "urllib3", "urllib", "ada"],
)
def test_what_is_read_means_the_same_host_to_others(
    module: str, other: Callable[[str], tuple[str, str, int | None]]
) -> None:
    pytest.importorskip(module)

    @given(URLS)
    @example("http://example.com:81/a")
    @example("http://[2001:db8::1]/")
    @example("http://192.0.2.1?a")
    def holds(url: str) -> None:
        try:
            target = read_url(url)
        except ValueError:
            return
        scheme, host, port = other(target.url)
        assert (scheme, _plain(host), port or {"http": 80, "https": 443}[scheme]) == (
            target.scheme,
            _plain(target.host),
            target.port,
        )
        try:
            scheme, host, port = other(url)
        except ValueError:  # strict in another way
            return
        assert (scheme.lower(), _plain(host)) == (target.scheme, _plain(target.host))

    holds()


def _plain(host: str) -> str:
    """Addresses in one spelling, names in lower case."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return host.lower()
