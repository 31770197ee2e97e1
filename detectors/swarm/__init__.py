"""Swarms: many clients that together run one attack."""

from __future__ import annotations

from detectors.swarm.reference import SwarmReference
from detectors.swarm.swarm import KINDS, Cohort, Swarm

__all__ = ["KINDS", "Cohort", "Swarm", "SwarmReference"]
