"""How much of a server one client may use, and what a client bears, as options of gRPC's core.

The names are those of grpc/impl/channel_arg_names.h.
"""

from __future__ import annotations

import msgspec

__all__ = ["PORTS", "ClientLimits", "Limits"]

Option = tuple[str, int | str]

PORTS: dict[str, int | None] = {"grpc": None, "grpcs": None}
"""The schemes and their usual ports: there are none for gRPC."""

_MINUTE = 60.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one listener. Times are in seconds, sizes in bytes."""

    calls: int = 1024  # at once, over all connections: as many as the HTTP driver's connections
    streams: int = (
        100  # calls at once on one connection; more wait at their client (RFC 9113 6.5.2 asks for 100 or more)
    )
    connections: int = 1024  # as many as files that a process may open on most systems
    metadata_size: int = 32 * 1024  # of a call, which is held before anything is known of its sender; as HTTP's heads
    window: int = 768 * 1024  # of a stream: one that nobody reads then costs 1.2 MiB. gRPC's core alone would widen it
    # to what the way to the client carries, which costs 5.6 MiB; so a stream has 7 MiB/s at a distance of 100 ms
    handshake_time: float = 10.0  # for TLS and HTTP/2's preface
    ping_interval: float = 10.0  # pings that come more often are strikes: our clients send one in 30 seconds,
    ping_strikes: int = 2  # and after so many the connection is closed (gRPC's own default)
    connection_age: float = 30 * _MINUTE  # then its client is asked to connect anew: balancers get to spread the load,
    connection_age_grace: float = 5 * _MINUTE  # and calls under way have so long to end
    connection_idle: float = 5 * _MINUTE  # without a call; a client connects anew by itself
    keepalive: float = 30.0  # without a sign of life from a client whose calls run, then a ping,
    keepalive_timeout: float = 10.0  # and its answer within so much: a client that has vanished ends its handlers

    def options(self, message_limit: int, *, is_shared: bool = False) -> list[Option]:
        """`is_shared` says that several processes listen at one port."""
        return [
            (
                "grpc.so_reuseport",
                int(is_shared),
            ),  # else a second server would take half of the first one's connections
            ("grpc.max_receive_message_length", message_limit),
            ("grpc.max_send_message_length", -1),  # what a reply may have is its reader's business
            ("grpc.max_concurrent_streams", self.streams),
            ("grpc.max_allowed_incoming_connections", self.connections),
            # Both the same: between them, gRPC's core refuses at random.
            ("grpc.max_metadata_size", self.metadata_size),
            ("grpc.absolute_max_metadata_size", self.metadata_size),
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", self.window),
            ("grpc.server_handshake_timeout_ms", _milliseconds(self.handshake_time)),
            ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(self.ping_interval)),
            ("grpc.http2.max_ping_strikes", self.ping_strikes),
            ("grpc.max_connection_age_ms", _milliseconds(self.connection_age)),
            ("grpc.max_connection_age_grace_ms", _milliseconds(self.connection_age_grace)),
            ("grpc.max_connection_idle_ms", _milliseconds(self.connection_idle)),
            ("grpc.keepalive_time_ms", _milliseconds(self.keepalive)),
            ("grpc.keepalive_timeout_ms", _milliseconds(self.keepalive_timeout)),
            ("grpc.http2.ping_timeout_ms", _milliseconds(self.keepalive_timeout)),  # the one that counts, of the two
            ("grpc.http2.max_pings_without_data", 0),  # a handler that works for long sends none
        ]


class ClientLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one link."""

    metadata_size: int = 96 * 1024  # of a reply: room for what a server may say of an error, see `metadata.ERROR_SIZE`
    keepalive: float = 30.0  # without a sign of life while a call runs, then a ping,
    keepalive_timeout: float = (
        10.0  # and its answer within so much: a vanished peer is noticed in 40 seconds, as HTTP's
    )
    idle: float = 4.0  # then a connection is closed, as HTTP's: no call is sent into one that was cut off unseen
    connect_time: float = 10.0  # for one attempt: name, address, TLS

    def options(self, message_limit: int) -> list[Option]:
        return [
            ("grpc.use_local_subchannel_pool", 1),  # a link's connections are its own
            ("grpc.max_receive_message_length", message_limit),
            ("grpc.max_send_message_length", -1),  # the server's limit counts, which only the server knows
            ("grpc.max_metadata_size", self.metadata_size),
            ("grpc.absolute_max_metadata_size", self.metadata_size),
            ("grpc.keepalive_time_ms", _milliseconds(self.keepalive)),
            ("grpc.keepalive_timeout_ms", _milliseconds(self.keepalive_timeout)),
            ("grpc.http2.ping_timeout_ms", _milliseconds(self.keepalive_timeout)),  # the one that counts, of the two
            ("grpc.client_idle_timeout_ms", _milliseconds(self.idle)),
            (
                "grpc.min_reconnect_backoff_ms",
                _milliseconds(self.connect_time),
            ),  # the time of an attempt, by its old name
            ("grpc.enable_http_proxy", 0),  # no driver takes a proxy from the environment
            ("grpc.service_config_disable_resolution", 1),  # nor rules about retries from whoever answers for a name
        ]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
