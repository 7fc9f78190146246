"""
CRC-32C (Castagnoli), by which Google's stores tell whether a value arrived as it was sent.

It finds damage, not tampering. Source: RFC 3720 appendix B.4.
"""

from __future__ import annotations

__all__ = ["crc32c"]

_POLYNOMIAL = 0x82F63B78  # reflected


def _row(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_TABLE = tuple(_row(value) for value in range(256))


def crc32c(data: bytes) -> int:
    """Give the checksum of *data*, 0 to 2³²-1. A value of 64 KiB takes some milliseconds."""
    table = _TABLE
    found = 0xFFFFFFFF
    for byte in data:
        found = table[(found ^ byte) & 0xFF] ^ (found >> 8)
    return found ^ 0xFFFFFFFF
