"""How large the datagrams of aioquic are: larger ones once the path has carried one, and small ones when it does no more.

In the way of RFC 8899: a probe of the larger size, without content, is sent a few times. Knows aioquic's private fields (1.7).
"""

from __future__ import annotations

from typing import Any

from aioquic import tls
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder

__all__ = ["SizedConnection"]

_PROBES = 10  # that get lost, and the path carries no larger ones: more than a path loses in a row that loses a third
_TIMEOUTS = 3  # in a row without anything being acknowledged, and the path may have become a narrow one (RFC 8899 4.3)


class SizedConnection(QuicConnection):
    """A connection that sends datagrams of its configuration's size, and of another one where the path carries it."""

    _larger = 0  # bytes of a datagram that the peer takes
    _probes = 0  # that may still be sent
    _is_probing = False  # whether one is under way

    def enlarge(self, datagram: int) -> None:
        """Send larger datagrams as soon as the path has carried one: the peer takes them."""
        self._larger, self._probes = datagram, _PROBES

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        datagrams = super().datagrams_to_send(now)
        if self._probes and not self._is_probing and self._may_probe:
            datagrams += self._probe(now)
        return datagrams

    @property
    def _may_probe(self) -> bool:
        """Whether the path works: where it carries nothing, a probe would tell nothing of sizes."""
        is_open = self._handshake_confirmed and self._close_event is None
        return is_open and self._network_paths[0].is_validated and not self._loss._pto_count

    def _probe(self, now: float) -> list[tuple[bytes, Any]]:
        assert self._version is not None
        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            is_client=self._is_client,
            max_datagram_size=self._larger,
            packet_number=self._packet_number,
            peer_cid=self._peer_cid.cid,
            spin_bit=self._spin_bit,
            version=self._version,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[tls.Epoch.ONE_RTT])
        content = builder.start_frame(QuicFrameType.PING, handler=self._on_probed)
        content.push_bytes(bytes(builder.remaining_buffer_space))  # frames of padding
        packet = builder._packet
        assert packet is not None
        packet.in_flight = False  # one that is lost tells nothing of congestion (RFC 8899 3, 7)
        self._is_probing = True
        path = self._network_paths[0]
        return self._flush_builder(builder=builder, network_path=path, peer_cid=self._peer_cid.cid, now=now)

    def _on_probed(self, delivery: QuicDeliveryState) -> None:
        self._is_probing = False
        if delivery == QuicDeliveryState.ACKED:
            self._probes = 0
            self._resize(self._larger)
        else:
            self._probes -= 1

    def handle_timer(self, now: float) -> None:
        super().handle_timer(now)
        usual = self.configuration.max_datagram_size
        if self._loss._pto_count >= _TIMEOUTS and self._max_datagram_size > usual:
            self._resize(usual)
            self._probes = _PROBES  # for when the peer is heard again: it may have been away

    def _resize(self, datagram: int) -> None:
        self._max_datagram_size = datagram
        recovery = self._loss
        recovery._cc._max_datagram_size = datagram  # type: ignore[attr-defined]  # of reno, which is in use
        recovery._pacer._max_datagram_size = datagram
        recovery._cc.congestion_window = max(
            recovery._cc.congestion_window, 10 * datagram
        )  # as it begins (RFC 9002 7.2)
