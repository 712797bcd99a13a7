"""What is asked: the requests that every server gets, and what a right answer means."""

import base64
import http.client
import importlib
import json
import math
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

JSON, PNG = "application/json", "image/png"
COMBO = {"text": "The quick brown fox jumps over the lazy dog.", "count": 42, "score": 0.875}
TEXT = {"kind": "text", "value": COMBO["text"]}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, and whether a body is the right answer to it."""

    path: str
    body: bytes
    means: Callable[[bytes], bool]
    content_type: str = JSON
    accept: str = "*/*"
    items: int = 1  # that the answer has
    opening: bytes = b""  # of a conversation, in which the body is one message of many

    def ask(self, port: int, patience: float) -> tuple[int, bytes]:
        """Ask once; return the status and the body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
        try:
            connection.request("POST", self.path, self.body, self.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @property
    def headers(self) -> dict[str, str]:
        """The headers but Host and Content-Length."""
        return {"Content-Type": self.content_type, "Accept": self.accept}

    def encode(self, port: int) -> bytes:
        """Return the whole request as it goes to a connection."""
        headers = {"Host": f"127.0.0.1:{port}", **self.headers, "Content-Length": str(len(self.body))}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + self.body


def combo(path: str) -> Exchange:
    """Ask for the echo of the three-field document."""
    return Exchange(path, _arguments(COMBO), lambda reply: COMBO.items() <= json.loads(reply).items())


def joined(path: str) -> Exchange:
    """Ask for what three nodes make of the document: one of its two echoes, whose counts are added."""
    wanted = COMBO | {"count": 2 * 42}
    return Exchange(path, _arguments(COMBO), lambda reply: wanted.items() <= json.loads(reply).items())


def joined_by_jina() -> Exchange:
    """Ask for the same as Jina's gateway wants it: a list of documents, and a name for the request, which is in the answer."""
    body = {"data": [{"id": "1", **COMBO}], "header": {"requestId": "1"}}
    wanted = COMBO | {"count": 2 * 42}
    return Exchange(
        "/default", json.dumps(body).encode(), lambda reply: wanted.items() <= json.loads(reply)["data"][0].items()
    )


def number(path: str) -> Exchange:
    """Ask for the double of a number."""
    return Exchange(path, b'{"x":21}', lambda reply: json.loads(reply) == 42)


class GrpcExchange(Exchange):
    """The same in gRPC: one message each way, or in a conversation one answer to each message behind the opening."""

    __slots__ = ()

    def ask(self, port: int, patience: float) -> tuple[int, bytes]:
        """Ask once; return 200 and the answer."""
        grpc = importlib.import_module("grpc")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                if not self.opening:
                    return 200, channel.unary_unary(self.path)(self.body, timeout=patience, wait_for_ready=True)
                asked = channel.stream_stream(self.path)(
                    iter((self.opening, self.body)), timeout=patience, wait_for_ready=True
                )
                (reply,) = asked
            except grpc.RpcError as error:
                return 0, str(error).encode()
            return 200, reply


def calls(path: str) -> GrpcExchange:
    """Ask for the echo of the three-field document over gRPC."""
    return GrpcExchange(path, _arguments(COMBO), lambda reply: COMBO.items() <= json.loads(reply).items())


def conversation(path: str) -> GrpcExchange:
    """Ask for the echo of documents, one after the other, over gRPC."""
    body = json.dumps(COMBO, separators=(",", ":")).encode()
    return GrpcExchange(path, body, lambda reply: json.loads(reply) == COMBO, opening=b"{}")


def items(path: str, item: object, count: int, accept: str) -> Exchange:
    """Ask for `item` so often: as lines, events or frames, by `accept`."""
    body = json.dumps({"count": count}).encode()
    return Exchange(
        path, body, lambda reply: _items(reply, accept, count) == [item] * count, accept=accept, items=count
    )


def _items(reply: bytes, accept: str, count: int) -> list[object]:
    """The items of a stream that ended well."""
    if "frames" not in accept:
        prefix = "data: " if "event" in accept else ""
        return [json.loads(line.removeprefix(prefix)) for line in reply.decode().split("\n") if line]
    found: list[object] = []
    at = 0
    while at < len(reply) and reply[at] == 0 and len(found) <= count:
        size = int.from_bytes(reply[at + 1 : at + 5], "big")
        found.append(json.loads(reply[at + 5 : at + 5 + size]))
        at += 5 + size
    return found


def text(path: str) -> Exchange:
    """Ask for the echo of a text document."""
    return Exchange(path, _arguments(TEXT), lambda reply: TEXT.items() <= json.loads(reply).items())


def picture(path: str, size: int) -> Exchange:
    """Ask for the echo of a picture of `size` bytes in a typed document: base64 in JSON."""
    content = png(size)
    document = {"kind": "image", "value": base64.b64encode(content).decode(), "media_type": PNG}
    return Exchange(path, _arguments(document), lambda reply: _content(reply) == content)


def raw(path: str, size: int) -> Exchange:
    """Ask for the echo of a picture of `size` bytes as the body itself."""
    content = png(size)
    return Exchange(path, content, lambda reply: reply == content, PNG, "image/*")


def png(size: int) -> bytes:
    """Return a grey picture of noise, the same each time, whose file has exactly `size` bytes (at least 300)."""
    side = math.isqrt(size - size // 500 - 200)  # the rest of the file is headers, at most 0.2 % and 200 bytes
    noise = random.Random(size)
    rows = b"".join(b"\0" + noise.randbytes(side) for _ in range(side - 1))
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side - 1, 8, 0, 0, 0, 0))
    parts = [b"\x89PNG\r\n\x1a\n", header, _chunk(b"IDAT", zlib.compress(rows, 0)), _chunk(b"IEND", b"")]
    room = size - sum(map(len, parts)) - len(_chunk(b"tEXt", b""))
    parts.insert(2, _chunk(b"tEXt", b"Comment\0".ljust(room, b" ")))
    return b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _arguments(document: object) -> bytes:
    return json.dumps({"doc": document}, separators=(",", ":")).encode()


def _content(reply: bytes) -> bytes:
    value: str = json.loads(reply)["value"]
    return base64.b64decode(value, altchars="-_" if "-" in value or "_" in value else None)
