"""Swarms: many clients that together run one attack."""

from __future__ import annotations

from detectors.swarm.cohort import KINDS, Cohort
from detectors.swarm.reference import SwarmReference
from detectors.swarm.swarm import Swarm

__all__ = ["KINDS", "Cohort", "Swarm", "SwarmReference"]
