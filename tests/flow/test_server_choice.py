"""Which of several servers gets a call: the choice, the time for which one is out, and the budget, by a clock of the test's."""

from __future__ import annotations

from collections import Counter
from random import Random

from xooai.flow.servers import FIRST, JITTER, MOST, SETTLED, TOKENS, Server, Servers


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def of(count: int, clock: Clock | None = None) -> Servers:
    return Servers([f"http://s{number}" for number in range(count)], Random(7).random, clock or Clock())


def taken(servers: Servers) -> Server:
    server = servers.take()
    assert server is not None
    return server


def test_servers_with_nothing_to_do_get_as_many_calls() -> None:
    servers = of(4)
    counts: Counter[str] = Counter()
    for _ in range(4000):
        server = taken(servers)
        counts[server.name] += 1
        servers.give_back(server)

    assert min(counts.values()) > 850


def test_calls_under_way_are_spread_evenly() -> None:
    servers = of(4)
    for _ in range(400):
        taken(servers)

    assert [server.calls for server in servers.all] == [100, 100, 100, 100] or (
        max(server.calls for server in servers.all) - min(server.calls for server in servers.all) <= 4
    )


def test_one_that_is_ten_times_as_slow_gets_a_part_of_the_calls_only() -> None:
    servers = of(3)
    slow = servers.all[0]
    under_way: list[tuple[int, Server]] = []
    counts: Counter[Server] = Counter()
    for tick in range(3000):
        for end, server in [one for one in under_way if one[0] <= tick]:
            servers.give_back(server)
            under_way.remove((end, server))
        server = taken(servers)
        counts[server] += 1
        under_way.append((tick + (30 if server is slow else 3), server))

    assert counts[slow] < 0.2 * 3000
    assert all(counts[server] > 0.35 * 3000 for server in servers.all[1:])


def test_the_busier_of_two_is_never_taken() -> None:
    servers = of(2)
    busy = taken(servers)

    for _ in range(50):
        other = taken(servers)
        assert other is not busy
        servers.give_back(other)


def test_a_server_that_is_out_gets_no_calls_and_the_last_one_all() -> None:
    servers = of(2)
    first, second = servers.all
    assert servers.out(first, 0, "gone")

    assert {taken(servers) for _ in range(20)} == {second}
    assert servers.take([second]) is None
    servers.out(second, 0, "gone too")
    assert servers.take() is None


def test_a_flapping_server_is_out_for_longer_and_longer_but_not_for_ever() -> None:
    clock = Clock()
    servers = of(2, clock)
    flapping = servers.all[0]
    times = []
    for _ in range(12):
        assert servers.out(flapping, flapping.times_out, "closed the connection")
        times.append(flapping.asked_at - clock.now)
        clock.now = flapping.asked_at
        assert servers.due() == [flapping]
        servers.back(flapping)
        clock.now += 1

    for place, time in enumerate(times):
        expected = min(MOST, FIRST * 2**place)
        assert expected * (1 - JITTER) <= time <= min(MOST, expected * (1 + JITTER))
    assert len(set(times)) > 6  # two clients do not come back at the same moments


def test_a_server_that_has_worked_for_long_begins_anew() -> None:
    clock = Clock()
    servers = of(2, clock)
    server = servers.all[0]
    for _ in range(6):
        servers.out(server, server.times_out, "gone")
        servers.back(server)
    clock.now += SETTLED
    servers.out(server, server.times_out, "gone")

    assert server.asked_at - clock.now <= FIRST * (1 + JITTER)


def test_what_a_call_tells_that_began_before_is_old() -> None:
    servers = of(2)
    server = servers.all[0]
    before = server.times_out
    assert servers.out(server, before, "gone")
    assert not servers.out(server, before, "gone")
    servers.back(server)

    assert not servers.out(server, before, "gone")
    assert not server.is_out


def test_calls_that_are_turned_away_are_repeated_within_a_budget() -> None:
    servers = of(2)
    repeated = sum(servers.may_repeat() for _ in range(100))
    assert repeated < TOKENS / 2

    for _ in range(1000):
        servers.went_well()
    assert servers.may_repeat()

    repeated = 0
    for _ in range(1000):  # every second call is turned away
        repeated += servers.may_repeat()
        servers.went_well()
    assert repeated <= 0.2 * 2000
