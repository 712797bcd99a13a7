"""What tests of calls over UDP do to datagrams, whoever's the client is."""

from __future__ import annotations

from typing import Any

import pytest

from impairment import Weather

__all__ = ["HARD", "NARROW", "PORTS", "SEED", "WEATHERS", "both", "skip_what_qh3_cannot"]

SEED = 3  # of what is slow: of the handshake at a loss of 30 % it takes two datagrams of either side's first five


def both(weather: Weather) -> dict[str, Any]:
    """The same in both directions."""
    return {"up": weather, "down": weather}


NARROW, PORTS = "a narrow way", "other ports"

WEATHERS: dict[str, dict[str, Any]] = {
    "loss": both(Weather(loss=0.05)),
    "copies": both(Weather(twice=0.1)),
    "another order": both(Weather(late=0.2)),
    "other bytes": both(Weather(spoilt=0.05)),
    "a long way": both(Weather(delay=0.03)),
    NARROW: both(Weather(largest=1200)),
    "darkness for a while": both(Weather(dark_from=12, dark=0.3)),
    PORTS: {"rebind": 50},  # datagrams: of an upload here about ten milliseconds
}
"""What is given to a proxy, by name."""

HARD = {
    **WEATHERS,
    "darkness for two seconds": both(Weather(dark_from=20, dark=2.0)),
    "loss in the handshake": both(Weather(loss=0.3, loss_until=12)),
}
"""With what lasts for seconds: for tests that are slow anyway."""


def skip_what_qh3_cannot(library: str, weather: str) -> None:
    if (library, weather) == ("qh3", PORTS):
        pytest.skip("qh3 2.1 outlives few changes of address, and none in its first datagrams; see docs/how-to/quic.md")
