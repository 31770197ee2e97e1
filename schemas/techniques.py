"""The ATLAS techniques and OWASP Machine Learning Top 10 risks that an alert names, pinned with their content version.

Ids are stable, names are not, so an alert carries id and version. Source: ``dist/ATLAS-latest.yaml`` of content version 5.6.0 (May 2026);
OWASP Machine Learning Security Top 10, 2023 (draft).
"""

from __future__ import annotations

ATLAS_VERSION = "5.6.0"

ATLAS = {
    "AML.T0005.001": "Train Proxy via Replication",
    "AML.T0010": "AI Supply Chain Compromise",
    "AML.T0015": "Evade AI Model",
    "AML.T0018.000": "Poison AI Model",
    "AML.T0020": "Poison Training Data",
    "AML.T0021": "Establish Accounts",
    "AML.T0024.000": "Infer Training Data Membership",
    "AML.T0024.002": "Extract AI Model",
    "AML.T0029": "Denial of AI Service",
    "AML.T0034.000": "Excessive Queries",
    "AML.T0040": "AI Model Inference API Access",
    "AML.T0042": "Verify Attack",
    "AML.T0043.001": "Black-Box Optimization",
    "AML.T0043.004": "Insert Backdoor Trigger",
    "AML.T0048.004": "AI Intellectual Property Theft",
}

OWASP = {
    "ML01:2023": "Input Manipulation Attack",
    "ML02:2023": "Data Poisoning Attack",
    "ML04:2023": "Membership Inference Attack",
    "ML05:2023": "Model Theft",
    "ML06:2023": "AI Supply Chain Attacks",
    "ML10:2023": "Model Poisoning",
}

OF_SEVERAL = ("AML.T0021",)
"""Besides, for an alert that names several clients: one who has many accounts has made them."""

BY_DETECTOR: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "extraction": (("AML.T0024.002", "AML.T0005.001", "AML.T0040", "AML.T0048.004"), ("ML05:2023",)),
    "evasion": (("AML.T0043.001", "AML.T0015", "AML.T0042"), ("ML01:2023",)),
    "membership": (("AML.T0024.000",), ("ML04:2023",)),
    "leakage": (("AML.T0024.000",), ("ML04:2023",)),
    "canary": (("AML.T0024.000",), ("ML04:2023",)),
    "cost": (("AML.T0034.000", "AML.T0029"), ()),
    "trigger": (("AML.T0043.004", "AML.T0018.000"), ("ML10:2023",)),
    "feedback": (("AML.T0020",), ("ML02:2023",)),
    "drift": ((), ()),
    "version": ((), ()),
    "quality": ((), ()),
    "completeness": ((), ()),
    "accuracy": ((), ()),
    "concept": ((), ()),
    "availability": ((), ()),
    "latency": ((), ()),
    "saturation": ((), ()),
    "access": (("AML.T0040",), ()),
    "consistency": (("AML.T0010",), ("ML06:2023",)),
    "integrity": (("AML.T0010",), ("ML06:2023",)),
}
"""By detector: technique ids and OWASP ids. Drift, quality, accuracy, gaps and burn rates have no adversary, and name none."""
