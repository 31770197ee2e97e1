"""Member-fingerprint hits of each client: how often, how many distinct members, and in which order.

A hit is a row that is byte for byte a training row. Exact repeats of a client's recent rows count neither as hit nor as miss. Three
readings of the stream of hits (recipe 2 and DETECTORS, "Calibrating across clients"), all e-processes:

- *fixed*: Shiryaev-Roberts R <- (R + 1) e with e = q/u for a hit and (1 - q)/(1 - u) otherwise, u fixed by the reference, mean over
  q in {.3, .5, .9} above 1.05 u. For clients that are odd from their first query.
- *Polya*: the same with the client's own u_t = (a + hits)/(a + b + queries). For clients that change.
- *order*: within one sitting (no pause above 30 minutes), a first-order Markov chain with Krichevsky-Trofimov estimates against the best
  Bernoulli rate: ln e = sum ln (n_ab + 1/2)/(n_a + 1) - max_p ln Bernoulli(p). Attackers ask known members in one block; it has no rate in
  it, so customers whose records were trained on don't stand out. Shuffling defeats it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from detectors.bloom import hash_row, holds
from detectors.lean import lean
from detectors.membership.slots import Layout
from detectors.prefetch import prefetch_row

REPEAT = 1
HIT = 2
SITTING_S = 1800.0
MIN_ORDER_HITS = 20
Q_GRID = np.array([0.3, 0.5, 0.9])
_SEEN = 32
_ARMS = 6
REGISTERS = 64
# Columns of `whole` and `real`.
QUERIES, TRIALS, HITS, SITTING, SITTING_HITS, PREVIOUS, PAIRS = 0, 1, 2, 3, 4, 5, 6
FIXED, POLYA, LN_MARKOV, LAST_AT = 0, 3, 6, 7

LAYOUT: Layout = {
    "seen": ("uint16", (_SEEN,), 0),
    "registers": ("uint8", (REGISTERS,), 0),
    "whole": ("int64", (10,), 0),
    "real": ("float64", (8,), 0.0),
}


@njit(inline="always")
def _rank(code: Any) -> Any:
    rest = code >> np.uint64(6)
    rank = 1
    while rank < 58 and not (rest & np.uint64(1)):
        rest >>= np.uint64(1)
        rank += 1
    return rank


@njit(cache=True)
def order_evidence(sitting: int, hits: int, ln_markov: float) -> float:
    """Log e-value of the Markov chain against the best Bernoulli rate of the sitting; 0 below 20 hits."""
    if hits < MIN_ORDER_HITS or hits == sitting:
        return 0.0
    p = hits / sitting
    return ln_markov - (hits * math.log(p) + (sitting - hits) * math.log(1 - p))


@lean
def update_hits(
    bits: Any, slot: Any, at_s: Any, bloom: Any, seed: Any, table: Any, nulls: Any, arrays: Any, out: Any, evidence: Any
) -> None:
    """One pass over a batch in its order; fills ``out`` and ``evidence`` (mean R, ln e of the sitting) per event.

    Args:
        bits: (n, d) uint32 bits of the float32 rows.
        slot: (n,) client of each row.
        at_s: (n,) event time, s; not finite counts as no time gone by.
        bloom: (bits, probes) of the filter.
        seed: (2,) its key words.
        table: its bytes.
        nulls: (u, a, b, cap): fixed rate, Beta prior, largest R kept.
        arrays: (seen, registers, whole, real) of `LAYOUT`, changed in place.
        out: (flags, queries, row_hash), each (n,): REPEAT and HIT (uint8), what the client has sent with this row (int64), the row's keyed
            hash (uint64).
        evidence: (n, >= 2) float64, out.
    """
    seen, registers, whole, real = arrays
    flags, queries, row_hash = out
    u, a, b, cap = nulls
    m, probes = bloom
    for i in range(bits.shape[0]):
        s = slot[i]
        if i + 1 < bits.shape[0]:
            prefetch_row(seen, slot[i + 1])
            prefetch_row(whole, slot[i + 1])
            prefetch_row(real, slot[i + 1])
        w, r = whole[s], real[s]
        w[QUERIES] += 1
        queries[i] = w[QUERIES]
        code = hash_row(bits[i], seed)
        row_hash[i] = code
        flags[i] = HIT if holds(table, m, probes, code) else 0
        tag = max(np.uint16(1), np.uint16(code >> np.uint64(48)))
        known = False  # all 32: of six rows asked in turn two may share a cell, and would seem new each time
        for k in range(_SEEN):
            known |= seen[s, k] == tag
        if known:
            flags[i] |= REPEAT
            evidence[i, 0] = r[FIXED : FIXED + _ARMS].mean()
            evidence[i, 1] = order_evidence(w[SITTING], w[SITTING_HITS], r[LN_MARKOV])
            continue
        seen[s, w[TRIALS] & (_SEEN - 1)] = tag
        hit = 1 if flags[i] == HIT else 0
        own = (a + w[HITS]) / (a + b + w[TRIALS])
        for k in range(Q_GRID.shape[0]):
            q = Q_GRID[k]
            if q > 1.05 * u:
                r[FIXED + k] = min(cap, (r[FIXED + k] + 1) * (q / u if hit else (1 - q) / (1 - u)))
            if q > 1.05 * own:
                r[POLYA + k] = min(cap, (r[POLYA + k] + 1) * (q / own if hit else (1 - q) / (1 - own)))
        w[TRIALS] += 1
        w[HITS] += hit
        if hit:
            at = np.int64(code & np.uint64(REGISTERS - 1))
            registers[s, at] = max(registers[s, at], np.uint8(_rank(code)))
        if abs(at_s[i] - r[LAST_AT]) > SITTING_S:
            w[SITTING:] = 0
            r[LN_MARKOV] = 0.0
        if np.isfinite(at_s[i]):
            r[LAST_AT] = at_s[i]
        if w[SITTING] > 0:
            before = w[PREVIOUS]
            pair = PAIRS + 2 * before
            r[LN_MARKOV] += math.log((w[pair + hit] + 0.5) / (w[pair] + w[pair + 1] + 1.0))
            w[pair + hit] += 1
        w[PREVIOUS] = hit
        w[SITTING] += 1
        w[SITTING_HITS] += hit
        evidence[i, 0] = r[FIXED : FIXED + _ARMS].mean()
        evidence[i, 1] = order_evidence(w[SITTING], w[SITTING_HITS], r[LN_MARKOV])


def distinct_members(registers: Any) -> Any:
    """HyperLogLog estimate (Flajolet et al. 2007, 64 registers, standard error 13 %) of the members a client has touched."""
    raw = 0.709 * REGISTERS**2 / (2.0 ** -registers.astype(float)).sum(-1)
    empty = (registers == 0).sum(-1)
    small = REGISTERS * np.log(REGISTERS / np.maximum(empty, 1))
    return np.where((raw <= 2.5 * REGISTERS) & (empty > 0), small, raw)
