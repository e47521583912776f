"""TLS connections of a capture, opened with the run's key log, so that TURN inside TLS is seen as TURN over TCP is.

The secrets of a connection are found by the random number of its ClientHello; keys and nonces follow from them as RFC
8446 (TLS 1.3, sections 5.3 and 7.3) and RFC 5246 (TLS 1.2, section 6.3) have it. What cannot be opened stays as it is.
"""

import hmac
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from testbed.analysis.demux import Ints
from testbed.analysis.packets import TCP, Kind, Packets
from testbed.analysis.segments import Ends, Stream, between, ends_of, streams
from testbed.analysis.texts import Text, add_bytes, with_texts

KEY_LOG: Final = "tls-keys.log"
Secrets = Mapping[bytes, Mapping[str, bytes]]
"By the ClientHello's random number: label of the key log to secret."
_HANDSHAKE, _APPLICATION_DATA = 22, 23
_CLIENT_HELLO: Final = 1
_HEADER: Final = 5
_LAST_OF_HANDSHAKE: Final = 1
"Segments with application data that a client's handshake may end with (Finished, or an alert)."
_CHANGE_CIPHER_SPEC: Final = 20
_RANDOM: Final = slice(11, 43)
"Of a hello: past the record's header, the message's, and the version."
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_CLIENT, _SERVER, _MASTER = "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0", "CLIENT_RANDOM"


@dataclass(frozen=True, slots=True)
class _Suite:
    """A cipher suite."""

    cipher: Any
    key_bytes: int
    digest: type[hashes.HashAlgorithm]
    salt_bytes: int = 0
    "Of TLS 1.2: the part of the nonce that both ends know from the start."

    @property
    def is_1_3(self) -> bool:
        return not self.salt_bytes


_SUITES: Final[Mapping[int, _Suite]] = {
    0x1301: _Suite(AESGCM, 16, hashes.SHA256),
    0x1302: _Suite(AESGCM, 32, hashes.SHA384),
    0x1303: _Suite(ChaCha20Poly1305, 32, hashes.SHA256),
    0xC02B: _Suite(AESGCM, 16, hashes.SHA256, 4),
    0xC02C: _Suite(AESGCM, 32, hashes.SHA384, 4),
    0xC02F: _Suite(AESGCM, 16, hashes.SHA256, 4),
    0xC030: _Suite(AESGCM, 32, hashes.SHA384, 4),
    0xCCA8: _Suite(ChaCha20Poly1305, 32, hashes.SHA256, 12),
    0xCCA9: _Suite(ChaCha20Poly1305, 32, hashes.SHA256, 12),
}
"By number: those of TLS 1.3 (RFC 8446 appendix B.4), and with ECDHE those of TLS 1.2 (RFC 5289, RFC 7905)."


@dataclass(frozen=True, slots=True)
class _Opened:
    """Application data of one record, and where the record begins."""

    rows: tuple[tuple[int, int], ...]
    "Segments, on all links, in which the record begins, and how many bytes are before it there."
    text: bytes


def read_key_log(path: Path) -> Secrets:
    """Read a key log (SSLKEYLOGFILE: label, random number and secret a line); empty where there is none."""
    secrets: dict[bytes, dict[str, bytes]] = {}
    if path.exists():
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            match line.split():
                case [label, random, secret] if not label.startswith("#"):
                    secrets.setdefault(bytes.fromhex(random), {})[label] = bytes.fromhex(secret)
    return secrets


def open_tls(packets: Packets, secrets: Secrets) -> Packets:
    """Return *packets* with what TLS connections hold read as if it had come over TCP; `tls` marks those rows.

    Signaling is left as it is.
    """
    if not secrets:
        return packets
    opened = [record for streams in _connections(packets) for record in _open(*streams, secrets)]
    if not opened:
        return packets
    longer, offsets = add_bytes(packets, [record.text for record in opened])
    texts = [
        Text(row, offset, len(record.text), is_first=into == 0)
        for record, offset in zip(opened, offsets, strict=True)
        for row, into in record.rows
    ]
    return with_texts(longer, texts, tls=True)


def sealed(packets: Packets) -> frozenset[Ends]:
    """Return the connections, by their client's ends, of which nothing was opened though more than a handshake went.

    A client of TLS 1.3 sends its last word of the handshake as application data too; what failed there sent no more.
    """
    speaking = _speaking(packets)
    rows = speaking[packets.buffer[packets.payload_offset[speaking]] == _APPLICATION_DATA]
    found = set()
    for ends in ends_of(packets, _hellos(packets, speaking)):
        mine = between(packets, rows, ends)
        if len(np.unique(packets.tcp_sequence[mine])) > _LAST_OF_HANDSHAKE and not packets.tls[mine].any():
            found.add(ends)
    return frozenset(found)


def _connections(packets: Packets) -> Iterator[tuple[Stream, Stream]]:
    """Yield both directions of every connection that begins with a ClientHello, the client's first.

    A client may use its port again for the same server: each connection has a random number of its own.
    """
    speaking = _speaking(packets)
    hellos = _hellos(packets, speaking)
    for ends in sorted(ends_of(packets, hellos)):
        mine = between(packets, speaking, ends)
        theirs = between(packets, speaking, (*ends[2:], *ends[:2]))
        begins = _begins(packets, between(packets, hellos, ends))
        for begin_ns, behind_ns in pairwise([*begins, np.iinfo(np.int64).max]):
            client, server = (
                _first(packets, rows[(packets.time_ns[rows] >= begin_ns) & (packets.time_ns[rows] < behind_ns)])
                for rows in (mine, theirs)
            )
            if client.data and server.data:
                yield client, server


def _begins(packets: Packets, hellos: Ints) -> list[int]:
    """Return when each connection began, in order: a ClientHello comes on several links, again, or is asked for twice.

    By then nothing of the one before is under way: SYN and SYN-ACK have followed it on every link.
    """
    begins: dict[bytes, int] = {}
    for row in hellos[np.argsort(packets.time_ns[hellos], kind="stable")].tolist():
        begins.setdefault(packets.payload(row)[_RANDOM], int(packets.time_ns[row]))
    return list(begins.values())


def _hellos(packets: Packets, speaking: Ints) -> Ints:
    """Return the rows that begin with a ClientHello."""
    longer = speaking[packets.payload_length[speaking] > _HEADER]
    first = packets.buffer[packets.payload_offset[longer]]
    sixth = packets.buffer[packets.payload_offset[longer] + _HEADER]
    hellos: Ints = longer[(first == _HANDSHAKE) & (sixth == _CLIENT_HELLO)]
    return hellos


def _first(packets: Packets, rows: Ints) -> Stream:
    """Return what *rows* of one direction hold, as far as nothing is missing."""
    return next(streams(packets, rows), Stream(rows, rows, rows, b""))


def _speaking(packets: Packets) -> Ints:
    """Return the rows over TCP with bytes in them, signaling aside."""
    is_tcp = (packets.protocol == TCP) & (packets.kind != Kind.SIP) & (packets.kind != Kind.BGP)
    return np.flatnonzero(is_tcp & (packets.payload_length > 0))


def _open(client: Stream, server: Stream, secrets: Secrets) -> Iterator[_Opened]:
    """Yield the application data of a connection whose secrets are known."""
    client_random, server_random = client.data[_RANDOM], server.data[_RANDOM]
    found, suite = secrets.get(client_random, {}), _suite(server.data)
    if suite is None:
        return
    if suite.is_1_3:
        for stream, label in ((client, _CLIENT), (server, _SERVER)):
            if label in found:
                yield from _decrypt_1_3(stream, found[label], suite)
    elif _MASTER in found:
        keys = _key_block(found[_MASTER], server_random + client_random, suite)
        for number, stream in enumerate((client, server)):
            yield from _decrypt_1_2(stream, keys, number, suite)


def _suite(hello: bytes) -> _Suite | None:
    """Return the cipher suite that a ServerHello chose (RFC 8446 section 4.1.3); None for one without AEAD."""
    session = _HEADER + 4 + 2 + 32
    at = session + 1 + (hello[session] if len(hello) > session else 0)
    return _SUITES.get(int.from_bytes(hello[at : at + 2], "big"))


def _decrypt_1_3(stream: Stream, secret: bytes, suite: _Suite) -> Iterator[_Opened]:
    cipher = suite.cipher(_expand(secret, b"key", suite.key_bytes, suite.digest()))
    first_nonce = int.from_bytes(_expand(secret, b"iv", _NONCE_BYTES, suite.digest()), "big")
    count = 0
    for at, record in _records(stream.data):
        if record[0] != _APPLICATION_DATA:
            continue
        nonce = (first_nonce ^ count).to_bytes(_NONCE_BYTES, "big")
        try:
            text = cipher.decrypt(nonce, record[_HEADER:], record[:_HEADER]).rstrip(b"\0")
        except InvalidTag:
            if count:
                return  # keys were changed (section 4.6.3), or bytes are not what was sent
            continue  # still the handshake, which has keys of its own
        count += 1
        if text and text[-1] == _APPLICATION_DATA:
            yield _Opened(tuple(stream.beginning(at)), text[:-1])


def _expand(secret: bytes, label: bytes, length: int, digest: hashes.HashAlgorithm) -> bytes:
    """HKDF-Expand-Label of RFC 8446 section 7.1."""
    name = b"tls13 " + label
    described = struct.pack(">HB", length, len(name)) + name + b"\0"
    return HKDFExpand(digest, length, described).derive(secret)


def _key_block(master: bytes, seed: bytes, suite: _Suite) -> bytes:
    """Keys of both ends, then their fixed parts of the nonce: P_hash of RFC 5246 sections 5 and 6.3."""
    name, block = str(suite.digest.name), b""
    label = chained = b"key expansion" + seed
    while len(block) < 2 * (suite.key_bytes + suite.salt_bytes):
        chained = hmac.digest(master, chained, name)
        block += hmac.digest(master, chained + label, name)
    return block


def _decrypt_1_2(stream: Stream, keys: bytes, number: int, suite: _Suite) -> Iterator[_Opened]:
    """Yield what end *number* (0: client) sent after its ChangeCipherSpec, of which the first record is Finished."""
    salts = keys[2 * suite.key_bytes :]
    cipher = suite.cipher(keys[number * suite.key_bytes :][: suite.key_bytes])
    salt = salts[number * suite.salt_bytes :][: suite.salt_bytes]
    explicit = _NONCE_BYTES - suite.salt_bytes
    count, is_sealed = -1, False
    for at, record in _records(stream.data):
        count += is_sealed
        is_sealed |= record[0] == _CHANGE_CIPHER_SPEC
        if not is_sealed or record[0] != _APPLICATION_DATA:
            continue
        sealed_text = record[_HEADER + explicit :]
        # AES-GCM sends part of its nonce (RFC 5288 section 3); ChaCha20 counts (RFC 7905 section 2).
        sent = record[_HEADER : _HEADER + explicit]
        nonce = salt + sent if explicit else (int.from_bytes(salt, "big") ^ count).to_bytes(_NONCE_BYTES, "big")
        about = struct.pack(">Q", count) + record[:3] + struct.pack(">H", len(sealed_text) - _TAG_BYTES)
        try:
            text = cipher.decrypt(nonce, sealed_text, about)
        except InvalidTag:
            return  # bytes are not what was sent
        yield _Opened(tuple(stream.beginning(at)), text)


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield where each whole record begins, and its bytes (section 5.1)."""
    at = 0
    while at + _HEADER <= len(data):
        end = at + _HEADER + int.from_bytes(data[at + 3 : at + 5], "big")
        if end > len(data):
            return
        yield at, data[at:end]
        at = end
