"""Query-pattern evidence: what it costs, and what it finds in recorded traces.

python -m bench.evidence cost
python -m bench.evidence replay TRACES OUT     # writes OUT/<trace>/alerts.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from detectors.evidence import FAMILIES, STATISTICS, ClientEvidence, EvidenceReference

LN_PAGE, LN_TICKET = float(np.log(1e7)), float(np.log(1e5))
BATCH = 512


def matrix(table: Any, column: str) -> Any:
    """A list column as (rows, width) float32."""
    return table[column].combine_chunks().flatten().to_numpy().reshape(len(table), -1).astype(np.float32)


def replay(folder: Path, out: Path) -> None:
    """One trace through the evidence in batches; alerts in the replay format."""
    meta = json.loads((folder / "meta.json").read_text())
    events = pq.read_table(folder / "events.parquet", columns=["ts", "client_id", "features", "probs", "label"])
    rows = pq.read_table(folder / "reference.parquet")
    start = time.perf_counter()
    reference = EvidenceReference.fit(
        matrix(rows, "features"), matrix(rows, "probs"), np.array(rows["member"].to_pylist()),
        low=meta["bounds"]["lo"], high=meta["bounds"]["hi"], image=tuple(meta["image"]) if meta.get("image") else None,
    )  # fmt: skip
    fitted = time.perf_counter()
    names, slot = np.unique(np.array(events["client_id"].to_pylist()), return_inverse=True)
    slot = slot.astype(np.int32)
    X, scores = matrix(events, "features"), matrix(events, "probs")
    label, ts = events["label"].to_numpy().astype(np.int32), events["ts"].to_numpy()
    clients = ClientEvidence(reference, ln_page=LN_PAGE, ln_ticket=LN_TICKET, capacity=len(names))
    begun = time.perf_counter()
    lines = []
    for a in range(0, len(X), BATCH):
        b = a + BATCH
        found = clients.update(slot[a:b], X[a:b], scores[a:b], label[a:b])
        for k in range(len(found)):
            alert = {
                "at": float(ts[a + found.index[k]]), "detector": FAMILIES[found.family[k]], "model": folder.name,
                "severity": ("", "ticket", "page")[found.severity[k]], "client": str(names[found.slot[k]]), "clients": None,
                "statistic": STATISTICS[found.statistic[k]], "ln_evidence": float(found.ln_evidence[k]), "queries": int(found.queries[k]),
            }  # fmt: skip
            lines.append(json.dumps(alert))
    spent = time.perf_counter() - begun
    (out / folder.name).mkdir(parents=True, exist_ok=True)
    (out / folder.name / "alerts.jsonl").write_text("".join(line + "\n" for line in lines))
    print(
        f"{folder.name}: fit {fitted - start:.2f} s, {spent / len(X) * 1e6:.2f} us/event, {clients.bytes_per_client} bytes/client, "
        f"tolerated {np.round(reference.joint_rates, 2)}, {len(lines)} alerts"
    )


def rows(n: int, mix: Any, rng: np.random.Generator) -> Any:
    """Rows with eight factors and as much noise."""
    return (rng.normal(size=(n, len(mix))) @ mix + rng.normal(size=(n, mix.shape[1]))).astype(np.float32)


def cost() -> None:
    """Microseconds per event at 1,000 clients and 500 events a batch."""
    rng = np.random.default_rng(0)
    for d, classes in ((20, 10), (784, 10)):
        mix = rng.normal(size=(8, d))
        start = time.perf_counter()
        X = rows(2000, mix, rng)
        image = (28, 28) if d == 784 else None
        reference = EvidenceReference.fit(X, np.empty((len(X), 0), np.float32), None, low=X.min(0), high=X.max(0), image=image)
        fitted = time.perf_counter() - start
        clients = ClientEvidence(reference, ln_page=LN_PAGE, ln_ticket=LN_TICKET, capacity=1000)
        n = 100_000 if d == 20 else 20_000
        X, scores = rows(n, mix, rng), rng.dirichlet(np.ones(classes), n).astype(np.float32)
        label, slot = scores.argmax(1).astype(np.int32), rng.integers(0, 1000, n).astype(np.int32)
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            for a in range(0, n, 500):
                b = a + 500
                clients.update(slot[a:b], X[a:b], scores[a:b], label[a:b])
            best = min(best, time.perf_counter() - start)
        print(
            f"d = {d}: {best / n * 1e6:.2f} us/event, {clients.bytes_per_client} bytes/client, "
            f"fit {fitted:.2f} s, reference {len(reference.to_bytes()) / 1024:.0f} KB"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("cost")
    command = commands.add_parser("replay")
    command.add_argument("traces", type=Path)
    command.add_argument("out", type=Path)
    options = parser.parse_args()
    if options.command == "cost":
        cost()
        return
    for folder in sorted(path for path in options.traces.iterdir() if (path / "events.parquet").exists()):
        replay(folder, options.out)


if __name__ == "__main__":
    main()
