"""Where the nodes of the tests' Flows are."""

__all__ = ["EVERYWHERE", "OVER_QUIC", "PLACES"]

PLACES = {
    "in process": "",
    "over http": "http://127.0.0.1:0",
    "over grpc": "grpc://127.0.0.1:0",
}
"""How the nodes are reached: the URL that their executors listen at."""

OVER_QUIC = "over quic"
EVERYWHERE = [*PLACES, OVER_QUIC]
"""For `parametrize("put", EVERYWHERE, indirect=True)`: where what a driver does with a call that is cancelled counts."""
