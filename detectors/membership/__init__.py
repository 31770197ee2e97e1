"""Membership inference: how leaky a model version is (`gauge`), and which clients send what its training set holds (`client`)."""

from __future__ import annotations

from detectors.membership.client import STATISTICS, ClientMembership, Crossings
from detectors.membership.gauge import GaugeReport, MembershipGauge
from detectors.membership.reference import MembershipReference

__all__ = ["STATISTICS", "ClientMembership", "Crossings", "GaugeReport", "MembershipGauge", "MembershipReference"]
