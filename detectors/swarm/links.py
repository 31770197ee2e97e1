"""Which clients step from each other's rows: two swarms at once are two, and who edits rows of others is in neither."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

_SOME = 3


def linked_groups(members: NDArray[np.int64], partner: NDArray[np.int32], bridges: NDArray[np.bool_], few: int) -> list[NDArray[np.int64]]:
    """Groups of members connected by steps, each without those who mostly step from rows of clients outside of it.

    Args:
        members: (m,) slots, ascending.
        partner: (capacity, links) slots whose rows a client stepped from last; negative for none.
        few: clients who are too few for a swarm of their own.
        bridges: (capacity,) clients who connect members without being told: named before.

    Returns:
        The groups, ascending slots in each; a member without partners is in none.

    Example:
        >>> partner = np.full((6, 2), -1, np.int32)
        >>> partner[0], partner[1], partner[3], partner[4], partner[5] = [1, 1], [0, 0], [4, 4], [3, 3], [1, 2]
        >>> [group.tolist() for group in linked_groups(np.array([0, 1, 3, 4, 5]), partner, np.zeros(6, bool), 5)]
        [[0, 1, 5]]
    """
    inside = bridges.copy()
    inside[members] = True
    group = _connected(inside, partner)
    theirs = partner[members]
    known = theirs >= 0
    same = known & inside[np.maximum(theirs, 0)] & (group[np.maximum(theirs, 0)] == group[members, None])
    kept = members[known.any(1) & (2 * same.sum(1) >= known.sum(1))]
    groups = [kept[group[kept] == which] for which in np.unique(group[kept]).tolist()]
    if not groups:
        return []
    largest = max(range(len(groups)), key=lambda k: len(groups[k]))
    # Whoever works off its share alone steps from rows of few others: three or more together belong to the swarm of the same half hour.
    rest = [group for k, group in enumerate(groups) if k != largest]
    joined = np.sort(np.concatenate([groups[largest], *(group for group in rest if _SOME <= len(group) < few)]))
    return [joined, *(group for group in rest if len(group) >= few)]


def linked(members: NDArray[np.int64], partner: NDArray[np.int32]) -> list[NDArray[np.int64]]:
    """Groups of members (m,) connected by partners (capacity, links) who are members themselves; who has none is alone."""
    inside = np.zeros(len(partner), np.bool_)
    inside[members] = True
    group = _connected(inside, partner)[members]
    return [members[group == which] for which in np.unique(group).tolist()]


def _connected(inside: NDArray[np.bool_], partner: NDArray[np.int32]) -> NDArray[np.int32]:
    """(capacity,) the group that each client is connected to by partners, both of whom are inside; who is not is alone."""
    nodes, size = np.flatnonzero(inside), len(inside)
    of = partner[nodes]
    edge = (of >= 0) & inside[np.maximum(of, 0)]
    a, b = np.repeat(nodes, edge.sum(1)), of[edge]
    group: NDArray[np.int32] = connected_components(coo_matrix((np.ones(len(a)), (a, b)), (size, size)), directed=False)[1]
    return group
