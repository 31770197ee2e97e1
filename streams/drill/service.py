"""A service in a process of its own, for the drill to kill: arguments ROWS.npz BOOTSTRAP PREFIX MODEL VERSION RATE."""

from __future__ import annotations

import sys
import time

import numpy as np

import inferwatch


def main() -> None:
    """Sends rows and answers of a file, at a rate, until killed."""
    path, bootstrap, prefix, model, version, rate = sys.argv[1:]
    with np.load(path) as held:
        X, scores, names, classes = held["X"], held["scores"], held["names"].tolist(), held["classes"].tolist()
    rng = np.random.default_rng(1)
    watch = inferwatch.Client(bootstrap, "drill", instance="drill-killed", pseudonym_key=b"of a drill, sixteen", topic_prefix=prefix,
                              heartbeat_s=2.0)  # fmt: skip
    while True:
        for k in rng.integers(len(X), size=round(float(rate) / 10)).tolist():
            watch.record(
                model=model, version=version, client=f"client-{k % 40}", features=dict(zip(names, X[k].tolist(), strict=True)),
                scores=scores[k].tolist(), prediction=classes[int(np.argmax(scores[k]))], latency_ms=9.0,
            )  # fmt: skip
        time.sleep(0.1)


if __name__ == "__main__":
    main()
