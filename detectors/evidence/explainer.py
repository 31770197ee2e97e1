"""Are a client's rows an explainer's: one row mixed with others, or with one column after the other turned up and down?

Kernel SHAP (Lundberg and Lee, NeurIPS 2017) asks for the answers to rows that keep some columns of the explained row and take the others
from background rows. Each row is as implausible as a shuffled one, but in every column one value comes again and again, far more often
than in the reference, among many other ones. Extraction moves or draws all columns; a search has few other values a column.
LIME's rows (Ribeiro et al., KDD 2016) are draws around the training data: they cannot be told from extraction by draws.

One-at-a-time sensitivity and numerical gradients turn one column of a row up, then down, and go on to the next column: the pairs of E5.
So does a search by coordinates (ZOO, SimBA), but it goes on from where the answer was better; a study's pairs all have one middle, the row.

Gates, not evidence: such a client opens a ticket, and no page, of statistics that call single rows implausible or made, and of E5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence import recent
from detectors.lean import allocating


@allocating
def mixes_one_row(memory: Any, held: int, share: Any) -> bool:
    """Whether nearly every column of the remembered rows (codes, field-major, `MEMORY` a field) keeps one value, among many others.

    Args:
        memory: the client's codes.
        held: rows in it.
        share: (F, 256) how often the reference has a code.
    """
    times = np.empty(256, np.int64)
    columns = kept = 0
    for f in range(len(share)):
        mode = recent.tally(memory, held, f, times)
        if share[f, mode] >= c.MIXED_COMMON:
            continue
        columns += 1
        often, others = times[mode] / max(held, 1), np.count_nonzero(times) - 1
        least = share[f, mode] + c.MIXED_KEPT[0] * (1 - share[f, mode])
        kept += int(least <= often <= c.MIXED_KEPT[1] and others >= min(c.MIXED_OTHERS, held // 5))
    return bool(columns >= c.MIXED_COLUMNS and kept >= c.MIXED_NEARLY * columns)


@allocating
def turns_one_column(real: Any, count: Any, code: Any, fields: int, far2: float) -> bool:
    """Whether the latest rows turn single columns of a row up and down that stays where it is: their pairs have one middle.

    Two rows in a row that differ in one sampled field at most, by `STUDY_STEP` at least, are a pair. Its middle is another pair's if they
    are less than `STUDY_SAME` of its step apart. `STUDY_PAIRS` that have another's are a study, unless two such middles lie near each
    other: then the row has moved. A study's next row is elsewhere. A search by steps as large that nothing ever moves looks the same, and
    finds nothing.

    Args:
        real: of the client; its ring has the positions of the last `RING` distinct rows, field-major.
        count: of the client.
        code: of the client; begins with the hashed values of the same rows.
        fields: sampled fields.
        far2: square of the median random-pair distance.
    """
    m, newest = min(count[at.DISTINCT], c.RING), count[at.DISTINCT] - 1
    n = (len(real) - at.STEP_1) // (2 + c.RING)
    ring = at.STEP_1 + 2 * n
    middle, same2 = np.empty((c.RING, n), np.float32), np.empty(c.RING, np.float32)
    pairs = 0
    for back in range(m - 1):
        a, b = (newest - back) % c.RING, (newest - back - 1) % c.RING
        changed, step2 = 0, np.float32(0)
        for f in range(fields):
            changed += code[f * c.RING + a] != code[f * c.RING + b]
        for f in range(n):
            x, y = real[ring + f * c.RING + a], real[ring + f * c.RING + b]
            middle[pairs, f] = (x + y) / 2
            step2 += (x - y) ** 2
        same2[pairs] = c.STUDY_SAME**2 * step2
        pairs += int(changed <= 1 and step2 >= c.STUDY_STEP**2)
    apart2 = np.empty((pairs, pairs), np.float32)
    shared = np.zeros(pairs, np.bool_)
    for p in range(pairs):
        for q in range(pairs):
            apart2[p, q] = ((middle[p] - middle[q]) ** 2).sum()
            shared[p] |= p != q and apart2[p, q] < same2[p]
    for p in range(pairs):
        for q in range(pairs):
            if shared[p] and shared[q] and same2[p] <= apart2[p, q] < c.LOCAL_STEP**2 * far2:
                return False
    return bool(shared.sum() >= c.STUDY_PAIRS)
