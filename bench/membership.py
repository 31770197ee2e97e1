"""Replays recorded traces through the membership detectors: alerts, cost, and the gauge of each service.

    python bench/membership.py TRACES OUT

TRACES holds one folder per service (events.parquet, reference.parquet, meta.json); OUT/<service>/alerts.jsonl is written.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from detectors.membership import STATISTICS, ClientMembership, MembershipReference

BATCH = 512
LN_PAGE, LN_TICKET = math.log(1e7), math.log(1e5)
KEY = b"a key for benchmarks, no secret."


def matrix(table: Any, column: str) -> NDArray[np.float32]:
    """A list column as (rows, values)."""
    flat = table[column].combine_chunks().flatten().to_numpy().astype(np.float32)
    return np.asarray(flat.reshape(len(table), -1))


def reference_of(folder: Path) -> MembershipReference:
    """The membership reference of one service."""
    table, meta = pq.read_table(folder / "reference.parquet"), json.loads((folder / "meta.json").read_text())
    X = matrix(table, "features")
    low, high = (np.asarray(meta["bounds"][side], np.float64) for side in ("lo", "hi"))
    return MembershipReference.fit(
        X,
        matrix(table, "probs"),
        table["y"].to_numpy(),
        table["member"].to_numpy(zero_copy_only=False),
        key=KEY,
        low=np.broadcast_to(low, X.shape[1]),
        high=np.broadcast_to(high, X.shape[1]),
        image=tuple(meta["image"]) if meta.get("image") else None,
    )


def replay(folder: Path) -> tuple[list[dict[str, Any]], float, ClientMembership]:
    """The alerts of one service, the cost in us per event, and the clients as they ended."""
    reference = reference_of(folder)
    table = pq.read_table(folder / "events.parquet", columns=["ts", "client_id", "features", "label"])
    names, slot = np.unique(np.array(table["client_id"].to_pylist()), return_inverse=True)
    columns: tuple[Any, ...] = (
        slot.astype(np.int32),
        table["ts"].to_numpy(),
        matrix(table, "features"),
        table["label"].to_numpy().astype(np.int32),
    )
    ClientMembership(reference, ln_page=LN_PAGE, ln_ticket=LN_TICKET, capacity=len(names)).update(*(c[:BATCH] for c in columns))  # compiles
    clients = ClientMembership(reference, ln_page=LN_PAGE, ln_ticket=LN_TICKET, capacity=len(names))
    alerts, spent = [], 0.0
    for start in range(0, len(slot), BATCH):
        batch = tuple(c[start : start + BATCH] for c in columns)
        begun = time.process_time()
        rose = clients.update(*batch)
        spent += time.process_time() - begun
        alerts += [
            {
                "at": float(batch[1][i]),
                "detector": "membership",
                "severity": "page" if severity == 2 else "ticket",
                "model": folder.name,
                "client": str(names[s]),
                "clients": None,
                "statistic": STATISTICS[kind],
                "ln_evidence": float(ln_e),
                "queries": int(queries),
            }
            for i, s, severity, kind, ln_e, queries in zip(
                rose.index, rose.slot, rose.severity, rose.statistic, rose.ln_evidence, rose.queries, strict=True
            )
        ]
    return alerts, 1e6 * spent / len(slot), clients


def main() -> None:
    """Replays every service of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    for folder in sorted(p.parent for p in options.traces.glob("*/events.parquet")):
        alerts, cost, clients = replay(folder)
        (options.out / folder.name).mkdir(parents=True, exist_ok=True)
        (options.out / folder.name / "alerts.jsonl").write_text("".join(json.dumps(a) + "\n" for a in alerts))
        print(f"{folder.name}: {len(alerts)} alerts, {cost:.2f} us/event, {clients.bytes_per_client} bytes/client")
        print(f"  {clients.reference.gauge.report().text()}")


if __name__ == "__main__":
    main()
