"""Where the views draw their lines, from the settings of the workers that fill the store."""

from __future__ import annotations

import math

from dashboards.promised import Promise
from dashboards.scope import Objectives
from detectors.e_process import page_threshold
from streams.settings import Settings, drift_pages, windows_in_30d
from streams.slo import OPTIONAL, parsed


def objectives(settings: Settings) -> Objectives:
    """The evidence at which these settings page, as `model_judge` and `watch` derive it.

    Drift: A = windows in 30 days / (budget x drift share), of which a quarter goes to segments where any are asked for. Clients: events in
    30 days / (budget x client share).

    Example:
        >>> round(objectives(Settings()).ln_page_client, 2), round(objectives(Settings()).ln_page_drift, 2)
        (16.12, 10.11)
    """
    budget = settings.budget
    return Objectives(
        false_pages_per_30d=min(max(budget.false_pages_per_30d, 0.001), 1000.0),
        availability=settings.objectives.availability,
        latency_p95_ms=settings.objectives.latency_ms,
        completeness=settings.objectives.completeness / 100,
        incident_share=settings.objectives.incident_share,
        page_shares={
            "drift": budget.drift_share,
            "quality": budget.quality_share,
            "accuracy": budget.accuracy_share,
            "extraction": budget.client_share,
            "evasion": budget.client_share,
            "membership": budget.membership_share,
            "access": budget.access_share,
        },
        promised={name: getattr(settings.objectives, name) for name in ("latency_share", *OPTIONAL)},
        by_model=tuple(
            Promise(model=model, version=version, values=tuple(sorted(values.items())))
            for model, version, values in map(parsed, settings.objectives.by_model)
        ),
        ln_page_client=math.log(budget.client_events_per_30d / (budget.false_pages_per_30d * budget.client_share)),
        ln_page_drift=math.log(page_threshold(windows_in_30d(settings.window), drift_pages(settings)[0])),
    )
