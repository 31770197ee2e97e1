"""Does the traffic of a model still look like its reference?

A good drift detector keeps its budget of false pages on streams whose events are not independent, is quick on what matters, silent below
the materiality its owner set, and says what moved, by how much and since when.
"""

from detectors.drift.counts import WindowCounts
from detectors.drift.detector import DriftDetector
from detectors.drift.reference import DriftReference
from detectors.drift.report import DriftReport, VariableDrift

__all__ = ["DriftDetector", "DriftReference", "DriftReport", "VariableDrift", "WindowCounts"]
