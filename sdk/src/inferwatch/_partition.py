"""Which partition a record belongs to."""

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
    return partition_of_key(f"{model}\0{client}", partitions)


def partition_of_key(key: str, partitions: int) -> int:
    """CRC-32 of the record's key in UTF-8, modulo the number of partitions: for labels and lifecycle, whose key is the model.

    Example:
        >>> partition_of_key("fraud", 12)
        10
    """
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % partitions
