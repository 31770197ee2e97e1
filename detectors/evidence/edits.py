"""Before E6 speaks: do consecutive rows share what varies, or only what the client never changes?

Who leaves half of the fields at a default, or asks about one customer's many offers, sends rows that share half of their values, any two
of them, and they are answered differently as often as any two rows. A search on codes changes a few fields of a row and goes on from there:
of what varies at all, its rows share most. In the ring a field varies if one row in eight has another value than most have, and it changes
between consecutive rows three times or more (of one customer's to the next it changes once). With u the mean chance, over these fields,
that two rows of the reference share the value (sum_k p_fk^2), rows are edits if

- consecutive ones share u + .2 of these fields in the mean; or, behind cover,
- four of the ring's rows share .7 of them with some other one, and more than u + 3 sqrt(u (1 - u) / fields);
- or no field varies: a walk that changes each of them once or twice;
- or in these fields consecutive ones lie nearer to each other than half of what two rows of the reference do: noise on the few that have
  many values.

Of simulated clients with a quarter to three quarters of their fields at a default, or the same by sessions, 94 of 1,512 were paged without.
A gate, not evidence: it can only keep an alert back. Runs at a crossing only, at distinct rows, 64 times a doubling. It misleads where a
search moves one field alone, to a new value each time (found later), and where a client's own rows are edits (a form), of which E6 asks
more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.evidence import constants as c
from detectors.evidence import recent
from detectors.evidence.habits import powers
from detectors.lean import allocating


@allocating
def _is_near(codes: Any, m: int, newest: int, share: Any, vary: Any) -> bool:
    """Whether consecutive rows lie nearer to each other, in the fields that ``vary``, than two rows of the reference."""
    total, fields = 0.0, 0
    for f in range(len(share)):
        if vary[f]:
            usual, below, moved = 0.0, 0.0, 0.0
            for code in range(256):
                below += share[f, code]
                usual += 2 * below * max(1 - below, 0.0)
            for k in range(m):
                if k != newest:
                    moved += abs(np.int64(codes[f * c.RING + k]) - np.int64(codes[f * c.RING + (k + 1) % m])) / (m - 1)
            total += moved / max(usual, 1e-3)
            fields += 1
    return bool(total < c.EDITS_NEAR * fields)


@allocating
def are_edits(values: Any, codes: Any, m: int, newest: int, share: Any) -> bool:
    """Whether the ring's rows share what varies.

    Args:
        values: the ring's values, folded to a byte; field-major, `RING` a field.
        codes: the same in code steps.
        m: rows in it.
        newest: slot of the latest; the next one holds the oldest.
        share: (F, 256) of each code, of the reference.
    """
    varied, usual, shared = 0, 0.0, 0
    times, vary = np.empty(256, np.int64), np.zeros(len(share), np.bool_)
    for f in range(len(share)):
        column, changes = values[f * c.RING : f * c.RING + m], 0
        for k in range(m):
            changes += k != newest and column[k] != column[(k + 1) % m]
        vary[f] = m - times[recent.tally(column, times)] >= c.EDITS_VARIED * m and changes >= c.EDITS_CHANGES
        if vary[f]:
            varied += 1
            usual += powers(share[f], -1)[0]
            shared += m - 1 - changes
    if varied == 0 or _is_near(codes, m, newest, share, vary):
        return True
    usual /= varied
    alike = 0
    least = max(usual + c.EDITS_SIGMAS * np.sqrt(usual * (1 - usual) / varied), c.EDITS_ALIKE)
    for k in range(m):
        most = 0
        for other in range(m):
            same = 0
            for f in range(len(share)):
                same += other != k and vary[f] and values[f * c.RING + k] == values[f * c.RING + other]
            most = max(most, same)
        alike += most / varied >= least
    return bool(shared > (usual + c.EDITS_EXCESS) * varied * (m - 1) or alike >= c.EDITS_ROWS)
