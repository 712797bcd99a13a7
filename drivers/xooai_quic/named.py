"""Connections of aioquic whose names are chosen, and that hear when their server does not know them any more.

It knows aioquic's private fields (1.7), which draws the names by chance and passes over a reset (RFC 9000 10.3.1).
"""

from __future__ import annotations

import hmac

from aioquic.quic.connection import QuicConnection, QuicConnectionId

from xooai_quic.names import LONG, Names

__all__ = ["NamedConnection"]

_TOKEN = 16  # bytes at the end of a reset
_SMALLEST = 21  # bytes of a reset (RFC 9000 10.3)
_NAMES = 8  # for one connection: as many as aioquic gives


class NamedConnection(QuicConnection):
    """One of a server is given its names by `name`, before it begins."""

    _names: Names | None = None

    def name(self, names: Names) -> None:
        """Have names of these from now on."""
        self._names = names
        first = self._host_cids[0]
        first.cid = self.host_cid = self._local_initial_source_connection_id = names.new()
        first.stateless_reset_token = names.token(first.cid)

    def _replenish_connection_ids(self) -> None:
        names = self._names
        if names is None:
            super()._replenish_connection_ids()
            return
        while len(self._host_cids) < min(_NAMES, self._remote_active_connection_id_limit):
            cid = names.new()
            self._host_cids.append(
                QuicConnectionId(cid=cid, sequence_number=self._host_cid_seq, stateless_reset_token=names.token(cid))
            )
            self._host_cid_seq += 1

    def is_reset(self, data: bytes) -> bool:
        """Whether a datagram says that the server does not know this connection any more."""
        if data[0] & LONG or len(data) < _SMALLEST or data.startswith(self.host_cid, 1):
            return False
        token = self._peer_cid.stateless_reset_token
        return bool(token) and hmac.compare_digest(data[-_TOKEN:], token)
