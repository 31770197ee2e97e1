"""What has been given away: answers served to each client (`ledger`), and how good a copy so many answers buy (`curve`)."""

from detectors.exposure.curve import CopyCurve
from detectors.exposure.ledger import Crossed, ExposureLedger

__all__ = ["CopyCurve", "Crossed", "ExposureLedger"]
