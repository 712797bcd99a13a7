"""How large the datagrams of aioquic are: larger ones once the path has carried one, and small ones when it does no more.

In the way of RFC 8899: a probe of the larger size, without content, is sent a few times, and the path is taken to be a narrow
one where large datagrams get lost while small ones behind them arrive. Knows aioquic's private fields (1.7).
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from aioquic import tls
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder

from xooai_quic.path_change import MovingConnection

__all__ = ["SizedConnection"]

_PROBES = 10  # that get lost, and the path carries no larger ones: more than a path loses in a row that loses a third
_MISSING = (
    3  # large ones in a row that get lost while one behind them arrives, and the path is narrow (RFC 8899 4.3, 5.1.2)
)


class SizedConnection(MovingConnection):
    """A connection that sends datagrams of its configuration's size, and of another one where the path carries it."""

    _larger = 0  # bytes of a datagram that the peer takes
    _probes = 0  # that may still be sent
    _is_probing = False  # whether one is under way
    _passed = -1  # the number of the last large packet that has arrived
    _missing = 0  # large packets behind it that got lost, though a small one behind them arrived

    def enlarge(self, datagram: int) -> None:
        """Send larger datagrams as soon as the path has carried one: the peer takes them."""
        self._larger, self._probes = datagram, _PROBES

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        if self._max_datagram_size > self.configuration.max_datagram_size:
            datagrams = self._large_to_send(now)
        else:
            datagrams = super().datagrams_to_send(now)
        if self._probes and not self._is_probing and self._may_probe:
            datagrams += self._probe(now)
        return datagrams

    def _large_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        usual, larger = self.configuration.max_datagram_size, self._max_datagram_size
        path = self._network_paths[0]
        # Nothing has arrived for a while, which may be due to their size; or the path is to show that it works, or is a new one.
        if self._probe_pending or path.remote_challenges or not path.is_validated:
            self._max_datagram_size = usual
        try:
            datagrams = super().datagrams_to_send(now)
        finally:
            self._max_datagram_size = larger
        if len(datagrams) > 1 or (datagrams and len(datagrams[0][0]) > usual):
            self._watch(len(datagrams))
        return datagrams

    def _watch(self, count: int) -> None:
        """Ask to be told what becomes of the large ones of the last packets."""
        usual = self.configuration.max_datagram_size
        for packet in islice(reversed(self._spaces[tls.Epoch.ONE_RTT].sent_packets.values()), count):
            if packet.sent_bytes > usual:
                packet.delivery_handlers.append((self._on_large, (packet.packet_number,)))

    def _on_large(self, delivery: QuicDeliveryState, number: int) -> None:
        if delivery == QuicDeliveryState.ACKED:
            self._passed, self._missing = max(self._passed, number), 0
        elif self._passed < number < self._spaces[tls.Epoch.ONE_RTT].largest_acked_packet:
            self._missing += 1
            if self._missing >= _MISSING and self._max_datagram_size > self.configuration.max_datagram_size:
                self._resize(self.configuration.max_datagram_size)
                self._probes, self._missing = _PROBES, 0  # it may have been something else

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

    def _resize(self, datagram: int) -> None:
        self._max_datagram_size = datagram
        recovery = self._loss
        recovery._cc._max_datagram_size = datagram  # type: ignore[attr-defined]  # of reno, which is in use
        recovery._pacer._max_datagram_size = datagram
        recovery._cc.congestion_window = max(
            recovery._cc.congestion_window, 10 * datagram
        )  # as it begins (RFC 9002 7.2)
