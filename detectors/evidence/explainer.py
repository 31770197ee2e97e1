"""Are a client's rows one row mixed with others, as an explainer makes them?

Kernel SHAP (Lundberg and Lee, NeurIPS 2017) asks for the answers to rows that keep some columns of the explained row and take the others
from background rows. Each row is as implausible as a shuffled one, but in every column one value comes again and again, far more often
than in the reference, among many other ones. Extraction moves or draws all columns; a search has few other values a column.
LIME's rows (Ribeiro et al., KDD 2016) are draws around the training data: they cannot be told from extraction by draws.

A gate, not evidence: such a client opens a ticket, and no page, of statistics that call single rows implausible or made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.evidence import constants as c
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
