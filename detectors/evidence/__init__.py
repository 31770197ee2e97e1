"""Who asks like an extraction or evasion program: evidence per client from the pattern of its queries."""

from detectors.evidence.clients import FAMILIES, ClientEvidence, Crossings
from detectors.evidence.explain import explain
from detectors.evidence.layout import STATISTICS
from detectors.evidence.reference import EvidenceReference

__all__ = ["FAMILIES", "STATISTICS", "ClientEvidence", "Crossings", "EvidenceReference", "explain"]
