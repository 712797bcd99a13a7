"""Which addresses the fetcher takes for public, and whom a network that the operator allows is for."""

from __future__ import annotations

import ipaddress

import pytest
from fetch_addresses import FORBIDDEN, PUBLIC
from hypothesis import given
from hypothesis import strategies as st

from xooai.errors import InvalidArgument
from xooai.fetch import FetchPolicy
from xooai.fetch.address import embedded, is_public, may_reach


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert may_reach(address)


@pytest.mark.parametrize("addresses", FORBIDDEN.values(), ids=FORBIDDEN)
def test_no_other_address_may_be_reached(addresses: str) -> None:
    assert [address for address in addresses.split() if may_reach(address)] == []


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_knows_as_special_is_public(address: ipaddress.IPv4Address) -> None:
    special = (
        address.is_private,
        address.is_loopback,
        address.is_link_local,
        address.is_multicast,
        address.is_reserved,
        address.is_unspecified,
    )

    assert not (is_public(address) and any(special))


@given(st.ip_addresses(v=6))
def test_no_public_address_stands_for_another(address: ipaddress.IPv6Address) -> None:
    assert not (is_public(address) and embedded(address))


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::10.1.2.3", "10.1.2.3"),
        ("64:ff9b::10.1.2.3", "10.1.2.3"),
        ("64:ff9b:1:a01:2:300::", "10.1.2.3"),
        ("2002:a01:203::1", "10.1.2.3"),
    ],
)
def test_an_allowed_network_of_ipv6_is_no_way_around_what_it_stands_for(outer: str, inner: str) -> None:
    every = [ipaddress.ip_network("::/0")]

    assert embedded(ipaddress.IPv6Address(outer)) == [ipaddress.IPv4Address(inner)]
    assert not may_reach(outer, every)
    assert may_reach(outer, [*every, ipaddress.ip_network("10.1.0.0/16")])


def test_both_addresses_of_teredo_count() -> None:
    address = "2001:0:808:808:0:0:f5fe:fdfc"  # the server 8.8.8.8, the client 10.1.2.3
    teredo = ipaddress.ip_network("2001::/32")

    assert not may_reach(address, [teredo])
    assert may_reach(address, [teredo, ipaddress.ip_network("10.0.0.0/8")])


def test_a_network_behind_nat64_reaches_the_public_through_it() -> None:
    nat64 = [ipaddress.ip_network("64:ff9b::/96")]

    assert may_reach("64:ff9b::8.8.8.8", nat64)
    assert not may_reach("64:ff9b::169.254.169.254", nat64)


def test_a_policy_allows_names_names_below_and_addresses() -> None:
    policy = FetchPolicy(hosts=frozenset({"Files.example.com", "*.example.org", "[2001:DB8::1]", "192.0.2.1"}))

    assert all(
        map(policy.allows, ["files.example.com", "a.example.org", "a.b.example.org", "2001:db8::1", "192.0.2.1"])
    )
    assert not any(
        map(policy.allows, ["example.com", "a.files.example.com", "example.org", "aexample.org", "192.0.2.2", "com"])
    )


def test_an_allowed_network_is_only_for_hosts_that_are_named() -> None:
    policy = FetchPolicy(hosts=frozenset({"*", "inner.example"}), networks=frozenset({"10.0.0.0/8"}))

    assert policy.allows("of-a-stranger.example")
    assert policy.networks_for("of-a-stranger.example") == ()
    assert policy.networks_for("inner.example") == (ipaddress.ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"hosts": {"https://example.com"}}, "hosts: 'https://example.com'"),
        ({"hosts": {"example.com:443"}}, "hosts: 'example.com:443'"),
        ({"hosts": {"a*.example.com"}}, "hosts: 'a*.example.com'"),
        ({"hosts": {"0x7f.1"}}, "hosts: '0x7f.1'"),
        ({"hosts": "example.com"}, "give a set"),
        ({"hosts": {"*"}, "networks": {"10.1.2.3/8"}}, "networks: "),
        ({"hosts": {"*"}, "ports": {0}}, "ports=[0]"),
        ({"hosts": {"*"}, "limit": 0}, "limit=0"),
        ({"hosts": {"*"}, "redirects": -1}, "redirects=-1"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(options: dict[str, object], wrong: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        FetchPolicy(**options)  # type: ignore[arg-type]

    assert wrong in refused.value.message


def test_the_defaults_are_those_that_are_promised() -> None:
    policy = FetchPolicy(hosts=frozenset({"*"}))

    assert (policy.redirects, policy.first_byte, policy.limit) == (3, 10, 64 * 1024 * 1024)
    assert policy.ports == {80, 443}
    assert policy.networks == frozenset()
