"""Pages of Ogg (RFC 3533, section 6), each of which holds one packet."""

from __future__ import annotations

import struct
import zlib

_LAST = 4
"""Flag of the last page of a stream."""
_HEADER = struct.Struct("<4sBBqIII")
"""Magic, version, flags, granule position, serial number of the stream, number of the page, checksum."""
_MOST_SEGMENT = 255
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in reverse order."""


def page(packet: bytes, granule: int, serial: int, number: int, last: bool = False) -> bytes:
    """Return a page with one packet of less than 64 KB.

    Args:
        granule: position behind the packet's last sample.
        number: number of the page in its stream.
        last: whether the stream ends with it.
    """
    segments, rest = divmod(len(packet), _MOST_SEGMENT)
    body = bytes((segments + 1,)) + b"\xff" * segments + bytes((rest,)) + packet
    fields = (b"OggS", 0, _LAST if last else 0, granule, serial, number)
    checksum = _checksum(_HEADER.pack(*fields, 0) + body)
    return _HEADER.pack(*fields, checksum) + body


def _checksum(data: bytes) -> int:
    """Return Ogg's CRC-32: that of zlib over reversed bits, with other values before and after it."""
    crc = ~zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")
