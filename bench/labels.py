"""What following answers for their labels costs: at the shard, at the judge, and for each label.

    OMP_NUM_THREADS=1 python -m bench.labels

The shard's hot path of `bench.shard`, with and without it (``labels.events = 0``), record by record in turn; then its messages at the
judge, where every answer is sorted in, and written into a snapshot; then labels of random events, as JSON records.
"""

from __future__ import annotations

import argparse
import statistics
import time

import msgspec
import numpy as np

from bench.shard import CLASSES, EVENTS, FEATURES, KEY, RATE, START_NS, records, rows
from inferwatch import CONTENT_TYPE_COLUMNS, encode
from schemas.outcomes import CE_TYPE
from schemas.reference import Feature, Reference
from streams.build import Rows, build
from streams.judge import Judge
from streams.owner import Record
from streams.references import References
from streams.settings import Settings, load
from streams.shard import Shard
from streams.warmup import settle_memory

HEADERS = {"content-type": CONTENT_TYPE_COLUMNS}


def published() -> Reference:
    """The reference of `bench.shard`."""
    X, scores = rows(np.random.default_rng(1), 6_000)
    features = tuple(Feature(name=f"feature_{j}") for j in range(FEATURES))
    owner = Rows(features=features, X=X, scores=scores, classes=tuple(map(str, range(CLASSES))), y=scores.argmax(1).astype(np.int32),
                 member=np.arange(6_000) < 3_000)  # fmt: skip
    return build("bench", "1", owner, membership_key=KEY, built_at_ns=0).reference


def shards(reference: Reference, all_settings: list[Settings], payloads: list[bytes]) -> tuple[list[float], list[bytes]]:
    """CPU-seconds of a shard with each of the settings, which take every record in turn, and the first one's messages for the judge."""
    references = References(KEY)
    references.put(reference)
    made = [Shard(0, settings, references) for settings in all_settings]
    took, sent = [0.0] * len(made), []
    for offset, payload in enumerate(payloads):
        for k in range(len(made)):
            which = (offset + k) % len(made)  # whoever comes second finds the caches as the first one left them
            began = time.process_time()
            made[which].apply(Record("events", 0, offset, payload, START_NS + 3 * 10**12, headers=HEADERS))
            took[which] += time.process_time() - began
        sent += messages(made[0])
        for shard in made:
            shard.outbox.ack([out.id for out in shard.outbox])
    made[0].finish()
    return took, sent + messages(made[0])


def messages(shard: Shard) -> list[bytes]:
    """Its messages for the judge."""
    return [out.value for out in shard.outbox if out.headers.get("ce_type") == CE_TYPE]


def main() -> None:
    """Measures, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=8)
    options = parser.parse_args()
    reference, n = published(), options.records * EVENTS
    payloads = [encode(batch) for batch in records(np.random.default_rng(1), options.records, 10**9 // RATE)]
    on = load(None, {})
    off = msgspec.structs.replace(on, labels=msgspec.structs.replace(on.labels, events=0))
    shards(reference, [on, off], payloads)
    settle_memory()
    runs = [shards(reference, [on, off], payloads)[0] for _ in range(options.pairs)]
    sent = shards(reference, [on], payloads)[1]
    more = sorted((a - b) / n * 1e6 for a, b in runs)
    plain = statistics.median(b for _, b in runs) / n * 1e6
    print(
        f"shard, {n:,} events, {CLASSES} classes, {options.pairs} runs: {plain:.3f} us an event without; "
        f"with it {statistics.median(more):+.3f} ({more[0]:+.3f} to {more[-1]:+.3f})"
    )
    print(f"messages: {len(sent)}, {sum(map(len, sent)) / n:.1f} bytes an event")
    references = References(KEY)
    references.put(reference)
    adding, cutting, joining = [], [], []
    labels = np.random.default_rng(2).integers(0, n, 20_000).tolist()
    texts = [msgspec.json.encode({"model": "bench", "event_id": f"one:{k}", "truth": "3"}) for k in labels]
    for _ in range(options.pairs):
        judge = Judge(0, on, references)
        judge.apply(Record("findings", 0, 0, sent[0], START_NS, headers={"ce_type": CE_TYPE}))  # makes the model's detectors
        began = time.process_time()
        for offset, value in enumerate(sent[1:], 1):
            judge.apply(Record("findings", 0, offset, value, START_NS, headers={"ce_type": CE_TYPE}))
        judge.tick(START_NS)
        adding.append((time.process_time() - began) / n * 1e6)
        began = time.process_time()
        judge.begin_copy()
        cutting.append((time.process_time() - began) / n * 1e6)
        began = time.process_time()
        for offset, text in enumerate(texts):
            judge.apply(Record("labels", 0, offset, text, START_NS))
        judge.tick(START_NS + 1)
        joining.append((time.process_time() - began) / len(texts) * 1e6)
        assert judge.fates()["joined"] == len(set(labels))
    for what, some in (("judge, us an answer", adding), ("snapshot, us an answer", cutting), ("us a label", joining)):
        print(f"{what:24} {statistics.median(some):.3f} ({min(some):.3f} to {max(some):.3f})")


if __name__ == "__main__":
    main()
