"""Which partition an event belongs to."""

from __future__ import annotations

import zlib


def partition_of(model: str, client: str, partitions: int) -> int:
    """One client of one model, one partition: CRC-32 of ``model NUL client``, modulo the number of partitions.

    The same as librdkafka's ``consistent`` partitioner for that key, so a Go, C++ or Node producer which sets the key lands where the
    SDK does.

    Example:
        >>> partition_of("fraud", "c0ffee", 12)
        10
    """
    return zlib.crc32(f"{model}\0{client}".encode("utf-8", "surrogatepass")) % partitions
