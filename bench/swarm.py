"""Replays recorded traces through the swarm detector: cohorts and cost of each service.

    python bench/swarm.py TRACES OUT

TRACES holds one folder per service (events.parquet, reference.parquet, meta.json); OUT/<service>/alerts.jsonl is written.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from detectors.membership.neighbours import fit_neighbours
from detectors.swarm import Swarm, SwarmReference

BATCH = 512


def matrix(table: Any, column: str) -> NDArray[np.float32]:
    """A list column as (rows, values)."""
    flat = table[column].combine_chunks().flatten().to_numpy().astype(np.float32)
    return np.asarray(flat.reshape(len(table), -1))


def replay(folder: Path) -> tuple[list[dict[str, Any]], float, int]:
    """The alerts of one service, CPU us per event, and bytes of a snapshot at the end."""
    meta = json.loads((folder / "meta.json").read_text())
    X = matrix(pq.read_table(folder / "reference.parquet"), "features")
    low, high = (np.broadcast_to(np.asarray(meta["bounds"][side], np.float64), X.shape[1]) for side in ("lo", "hi"))
    table = pq.read_table(folder / "reference.parquet")
    member, image = table["member"].to_numpy(zero_copy_only=False), tuple(meta["image"]) if meta.get("image") else None
    neighbours, control = (fit_neighbours(X, side, low, high, image, 0) for side in (member, ~member))
    reference = SwarmReference.fit(X, low=low, high=high, image=image)
    table = pq.read_table(folder / "events.parquet", columns=["ts", "client_id", "features", "label"])
    names, slot = np.unique(np.array(table["client_id"].to_pylist()), return_inverse=True)
    columns: tuple[Any, ...] = slot.astype(np.int32), table["ts"].to_numpy(), matrix(table, "features"), table["label"].to_numpy()
    Swarm(reference, neighbours=neighbours, control=control, capacity=len(names)).update(*(c[:BATCH] for c in columns))  # compiles
    swarm = Swarm(reference, neighbours=neighbours, control=control, capacity=len(names))
    alerts, spent = [], 0.0
    for start in range(0, len(slot), BATCH):
        batch = tuple(c[start : start + BATCH] for c in columns)
        begun = time.process_time()
        cohorts = swarm.update(*batch)
        spent += time.process_time() - begun
        alerts += [
            {
                "at": c.at_s,
                "detector": c.family,
                "severity": "page" if c.severity == 2 else "ticket",
                "model": folder.name,
                "client": None,
                "clients": [str(names[m]) for m in c.members],
                "kind": c.kind,
                "seeds": c.seeds,
                "ln_evidence": c.ln_evidence,
            }
            for c in cohorts
        ]
    return alerts, 1e6 * spent / len(slot), len(swarm.snapshot())


def main() -> None:
    """Replays every service of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    for folder in sorted(p.parent for p in options.traces.glob("*/events.parquet")):
        alerts, cost, size = replay(folder)
        (options.out / folder.name).mkdir(parents=True, exist_ok=True)
        (options.out / folder.name / "alerts.jsonl").write_text("".join(json.dumps(a) + "\n" for a in alerts))
        print(f"{folder.name}: {len(alerts)} alerts, {cost:.2f} us/event, snapshot {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
