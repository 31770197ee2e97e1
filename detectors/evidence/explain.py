"""One crossing in words and numbers, for the page that a person reads."""

from __future__ import annotations

from detectors.evidence import constants as c
from detectors.evidence.clients import FAMILIES, ClientEvidence, Crossings
from detectors.evidence.layout import MADE, STATISTICS

_SEEN = {
    "joint": "rows whose columns do not belong together: each value ordinary, the combination not (random, shuffled or generated inputs)",
    "flat": "rows that differ from an earlier one by the same amount in every column (sign steps of a substitute's gradient)",
    "smooth": "rows that scatter less than any part of the reference, about the laws between columns or in every direction (averages)",
    "stride": "rows that differ from earlier ones by the same amounts, column by column, with other signs (a substitute's gradient signs)",
    "independent": "rows whose columns have nothing to do with each other, each drawn by itself (random, shuffled or generated inputs)",
    "generated": "rows that look made from other rows: averages, noise around rows, draws from a fitted distribution, equal steps",
    "composed": "of all rows, more look made than of a client with any ordinary habit (mixed, crossed or drawn rows, also among others)",
    "flips": "the answer flips between neighbouring rows at ever smaller distances (a search for the decision boundary)",
    "closing": "some answers flip between neighbouring rows at many different distances (a boundary search among other queries)",
    "symmetric": "probes in pairs on both sides of a row (finite differences, antithetic noise), or blocks that shrink to one (Boundary)",
    "lattice": "rows a little off the one they follow in a few fields, where the answer flips (a boundary walk on whole numbers)",
    "two_valued": "several columns moved by plus or minus one fixed amount, or the same few values combined anew (Square)",
    "bisection": "rows halfway between two recent ones, at half the distance every time (a bisection towards the decision boundary)",
    "stopping": "sittings around one row after another, each of which ends as soon as the answer has changed",
}
_NOT_SAID = {
    "joint": "intent: an explainer (LIME, SHAP), a client with wrong units or imputed fields, or drift of everybody can look the same",
    "flat": "intent: a sweep of all inputs by a fixed share looks the same",
    "smooth": "intent: a client that sends averages, smoothed or heavily imputed rows looks the same",
    "stride": "intent: a designed experiment with fixed steps in every input looks the same",
    "independent": "intent: an explainer (LIME), a load test with random rows, or a join of unrelated tables looks the same",
    "generated": "intent: an explainer (LIME), a load test with generated rows, or a client that sends imputed rows looks the same",
    "composed": "intent: an explainer, a load test with generated rows, or a client with much noise of its own looks the same",
    "flips": "success: whether an adversarial example was found or used",
    "closing": "success, or intent where one client forwards many sensors that sit on a decision boundary",
    "symmetric": "intent: a numerical sensitivity analysis looks the same",
    "lattice": "intent: a person who turns a form's values step by step near a decision looks the same when it is done often enough",
    "two_valued": "success: whether an adversarial example was found or used",
    "bisection": "intent: a goal seek over several inputs looks the same",
    "stopping": "intent: whoever works on one case after another until the answer is the wanted one looks the same",
}


def explain(clients: ClientEvidence, crossings: Crossings, k: int) -> dict[str, float | int | str]:
    """Evidence of crossing ``k``: what was seen how often, what is tolerated, and what it does not prove.

    The counts are the client's present ones, so call it before later batches or a `clear`. Rates are shares of the rows that the
    statistic could judge; ``tolerated`` is the rate up to which false crossings keep the budget.

    Example:
        >>> sorted(_SEEN) == sorted(_NOT_SAID) == sorted(STATISTICS)
        True
    """
    statistic = STATISTICS[crossings.statistic[k]]
    count = {name: int(values[0]) for name, values in clients.counts(crossings.slot[k : k + 1]).items()}
    reference = clients.reference
    out: dict[str, float | int | str] = {
        "family": FAMILIES[crossings.family[k]],
        "statistic": statistic,
        "seen": _SEEN[statistic],
        "not_said": _NOT_SAID[statistic],
        "ln_evidence": round(float(crossings.ln_evidence[k]), 2),
        "queries": int(crossings.queries[k]),
        "distinct_rows": count["distinct_rows"],
        "exact_repeats": count["exact_repeats"],
        "near_rows": count["near"],
        "edited_rows": count["edits"],
        "missing_values": count["missing_values"],
    }
    hits, trials, tolerated = {
        "joint": (count["joint_above_95"], count["joint_scored"], float(reference.joint_rates[1])),
        "flat": (count["flat_steps"], count["steps"], float(reference.flat_rates[1])),
        "smooth": (count["joint_below_5"], count["joint_scored"], reference.smooth_rate),
        "flips": (count["near_flips"], count["distinct_rows"], float(reference.flip_rates[0])),
        "closing": (count["near_flips"], count["distinct_rows"], c.CLOSING_U),
        "symmetric": (count["symmetric_pairs"], count["pairs"], reference.symmetric_rate),
        "lattice": (count["consecutive_edit_flips"], count["consecutive"], c.LATTICE_U),
        "stride": (count["strides"], count["stride_scored"], c.STRIDE_U),
        "independent": (count["independent_rows"], count["independent_scored"], reference.bond.rate),
        "generated": (count["generated_rows"], count["generated_scored"], float(reference.generated.rates[0])),
        "composed": (count["generated_rows"], count["generated_scored"], float(reference.generated.composed[0])),
        "bisection": (count["bisections"], count["distinct_rows"], reference.bisection_rate),
        "stopping": (count["stopped_sittings"], count["sittings"], 1 / c.STOPPING_LEAST),
        "two_valued": (count["two_valued"], count["two_valued_scored"], c.TWO_VALUED_U[bool(reference.image)]),
    }[statistic]
    out |= {"hits": hits, "judged": trials, "rate": round(hits / max(trials, 1), 3), "tolerated": round(tolerated, 3)}
    if crossings.statistic[k] in MADE and clients.mixes_one_row(int(crossings.slot[k])):
        out["looks_like"] = "explainer"
    if statistic == "symmetric" and crossings.severity[k] == 1 and clients.turns_one_column(int(crossings.slot[k])):
        out["looks_like"] = "sensitivity"
    if statistic == "joint":
        for name, rate in zip(("75", "95", "99", "999"), reference.joint_rates, strict=True):
            out[f"share_above_reference_{name}"] = round(count[f"joint_above_{name}"] / max(trials, 1), 3)
            out[f"tolerated_above_reference_{name}"] = round(float(rate), 3)
    return out
