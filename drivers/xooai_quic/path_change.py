"""What aioquic leaves out when its peer is heard from another address: to find out at once what still arrives there.

It goes on as before, so that the window may be full of what was sent to the old address, there is no room to challenge the new
one (RFC 9000 9.3), and the next try comes after a pause that has doubled for as long as nothing arrived. It knows aioquic's
private fields (1.7).
"""

from __future__ import annotations

from typing import Any

from aioquic.quic.connection import QuicConnection, QuicNetworkPath

__all__ = ["MovingConnection"]


class MovingConnection(QuicConnection):
    """A connection that begins anew with its pauses on another path."""

    _path: QuicNetworkPath | None = None  # on which something was sent last

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        path = self._network_paths[0]
        if path is not self._path:
            if self._path is not None:
                self._loss._pto_count = 0
                self._loss.reschedule_data(now=now)  # with a probe, for which there is always room (RFC 9002 7.5)
            self._path = path
        return super().datagrams_to_send(now)
