"""The statistics: columns in, frozen reports out."""

from detectors.kernels import use_cache

use_cache()
