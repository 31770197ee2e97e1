"""Do values that repeat in the reference (noughts, whole numbers, categories) repeat less in a client's rows? Drawn from ranges they do.

Other units keep equal values equal, and another population has its noughts where the reference has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.evidence import constants as c
from detectors.evidence.habits import powers, spread_of_pairs
from detectors.evidence.place import told_of_each_other
from detectors.evidence.second_look import Look, filled
from detectors.lean import allocating


@allocating
def repeat_less(memory: Any, held: int, look: Look, kept: Any) -> Any:
    """Whether values that repeat in the reference repeat less here: other units keep equal values equal, made rows do not.

    By more than chance: of n values n (n - 1) S_2 ordered pairs are equal, with the spread of `spread_of_pairs`.
    """
    columns = 0
    times = np.empty(256, np.int64)
    for f in range(len(look.step)):
        times[:] = 0
        n = 0
        for i in range(held):
            if kept[i, f]:
                times[memory[f * c.MEMORY + i]] += 1
                n += 1
        two, three = powers(look.share[f], -1)
        if n >= c.LOOK_ROWS and two >= c.GENERATED_TIES:
            equal, expected = (times * (times - 1)).sum(), two * n * (n - 1)
            chance = c.GENERATED_TIED[2] * spread_of_pairs(n, two, three)
            columns += equal < c.GENERATED_TIED[0] * expected and equal < expected - chance
    return columns >= c.GENERATED_TIED[1]


@allocating
def is_drawn_anywhere(memory: Any, held: int, look: Look) -> bool:
    """Whether columns tell nothing of each other, and values that repeat in the reference repeat less: what is drawn from ranges.

    Another population, of another range, still has its noughts where the reference has them, and what has a trend has it in all columns.
    """
    z, kept = np.empty((held, len(look.step))), np.ones((held, len(look.step)), np.bool_)
    filled(memory, held, look, z, kept)
    return bool(repeat_less(memory, held, look, kept) and told_of_each_other(z, look)[0] < c.GENERATED_TOLD)
