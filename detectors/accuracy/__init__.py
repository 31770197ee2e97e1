"""Is the model still right? By delayed labels; without them by its own confidence, as far as that was right before."""

from detectors.accuracy.detector import DELAYS, AccuracyCounts, AccuracyDetector, AccuracyReport
from detectors.accuracy.locate import began
from detectors.accuracy.reference import BINS, AccuracyReference, Estimate, bins_of

__all__ = ["BINS", "DELAYS", "AccuracyCounts", "AccuracyDetector", "AccuracyReference", "AccuracyReport", "Estimate", "began", "bins_of"]
