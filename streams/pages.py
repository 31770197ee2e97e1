"""The words of an alert: one sentence that says what happened, to whom, how sure we are and how big it is."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from detectors.access import AccessReport
from detectors.accuracy import AccuracyReport
from detectors.completeness import CompletenessReport
from detectors.constant import ConstantReport
from detectors.drift import DriftReport, VariableDrift
from detectors.drift.witness import JointShift
from detectors.feedback import FeedbackReport
from detectors.membership.gauge import Share
from detectors.quality import QualityReport
from detectors.rates import RateReport
from detectors.versions import VersionReport
from schemas.windows import Finding, Severity
from streams.burn import Burn
from streams.loss_budget import Excess
from streams.saturation import Full
from streams.segment_judge import Part

_WHAT = {
    "extraction": "asks the model the way a copying program does",
    "evasion": "searches for an input that the model gets wrong",
    "membership": "tests which records the model was trained on",
    "cost": "uses far more of the service than it ever did",
}
_LOOKS = {
    "explainer": " Looks like an explainer (SHAP): one row mixed with others. A ticket at most.",
    "sensitivity": " Looks like a sensitivity study: one column of a row after the other, up and down. A ticket while the row stays.",
}
_TOGETHER = {
    "extraction": "ask the model the way one copying program does",
    "evasion": "search for an input that the model gets wrong",
    "membership": "test which records the model was trained on",
}
_LINKS = {
    "iterate": "their rows are steps from each other's rows",
    "synthetic": "their rows lie all around the data and not in it",
    "copies": "they ask for changed copies of records, many of which the model was trained on",
}
_MOVED = {
    "up": "moved up from the reference",
    "down": "moved down from the reference",
    "shape": "changed shape against the reference",
    "mix": "changed its mix against the reference",
    "missing": "changed in how often it is missing",
    "unseen": "took values that the reference does not have",
}
_LATE = {
    "1m": "within a minute",
    "1h": "within an hour",
    "1d": "within a day",
    "1w": "within a week",
    "more": "after a week",
}
_NAME = 100
"""Characters of a name in a sentence; the labels and rows have it in full."""


_CHANGED = {
    "trigger": "a rare value gets one class",
    "consistency": "the same inputs are answered otherwise",
    "version": "this version answers otherwise than the one before",
}


def finding(found: Finding, in_doubt: str = "") -> str:
    """The sentence for a finding about one client or several; perhaps in doubt because of another detector's alert about the model."""
    who = f"Client {_short(found.client)}" if found.client else f"{len(found.clients)} clients together"
    if found.statistic == "exposure":
        given, agreement = found.evidence.get("distinct_answers"), found.evidence.get("copy_agreement")
        answers = f"{given:,}" if isinstance(given, int) else "so many"
        share = f"{agreement:.0%}" if isinstance(agreement, float) else "more"
        return (
            f"{who} was given {answers} distinct answers of {_short(found.model)} {_short(found.version)}: enough for a copy that agrees "
            f"with it on {share} of the rows, over the owner's limit. This says what it has, not what it is up to."
        )
    if found.family == "cost" and found.statistic == "rate":
        usual, part = found.evidence.get("usual_in_window"), found.evidence.get("share")
        return (
            f"{who} asks {_short(found.model)} {_short(found.version)} far more than it did: {found.n_events:,} requests in a window "
            f"(usually {usual if isinstance(usual, (int, float)) else 0:,.1f}), {part if isinstance(part, float) else 0.0:.0%} of its "
            f"partition's (evidence e^{found.log_evidence:.1f})."
        )
    which = f"{found.statistic} evidence" if found.statistic else "evidence"
    return (
        f"{who} {_WHAT[found.family]}: {which} e^{found.log_evidence:.1f} "
        f"after {found.n_events:,} events on {_short(found.model)} {_short(found.version)}."
        + _LOOKS.get(str(found.evidence.get("looks_like")), "")
        + (f" Or the model's doing: {_CHANGED.get(in_doubt, in_doubt)}. No page before that is over." if in_doubt else "")
    )


def swarm(kind: str, family: str, members: int, onset_s: tuple[float, float], n_events: int, model: str, version: str) -> str:
    """The sentence for a swarm: how many, what they do together, and when they began."""
    minutes = max((onset_s[1] - onset_s[0]) / 60, 1)
    return (
        f"{members:,} clients together {_TOGETHER[family]}: {_LINKS[kind]}; they began within {minutes:,.0f} minutes, "
        f"{n_events:,} of their events were looked at on {_short(model)} {_short(version)}."
    )


def drift(report: DriftReport, model: str, version: str, part: Part | None = None) -> str:
    """The sentence for drift: which variables, how far, how sure; where, if it is in a part of the traffic only."""
    if part is not None:
        said = drift(report, model, version)
        return f"Only where {_short(part.name)} ({part.share:.0%} of the events): {said}"
    leading, model, version = leading_variables(report), _short(model), _short(version)
    if not leading:
        return f"The traffic of {model} {version} no longer looks like its reference (evidence e^{report.log_evidence:.1f})."
    if report.shift is not None:
        return _as_a_whole(report.shift, report, model, version)
    if report.jointly and report.pairs:
        return _together(report, model, version)
    first = leading[0]
    others = f" and {len(leading) - 1} more" if len(leading) > 1 else ""
    size = f"PSI {first.psi:.3f}, W1 {first.w1:.2f} sd" if first.w1 else f"PSI {first.psi:.3f}"
    return (
        f"{_short(first.name)}{others} of {model} {version} {_MOVED[first.direction]}: {_short(first.detail, 2 * _NAME)} "
        f"({size}; evidence e^{report.log_evidence:.1f}, {report.n:,} events in the window)."
    )


def drift_of_latency(moved: VariableDrift, model: str, version: str) -> str:
    """The sentence for latency that is not the reference's: which share of the answers, and the median's way."""
    return (
        f"Latency of {_short(model)} {_short(version)} {_MOVED[moved.direction]}: {_short(moved.detail, 2 * _NAME)}, median "
        f"{moved.reference_center:.3g} -> {moved.center:.3g} ms (PSI {moved.psi:.3f}; evidence e^{moved.log_evidence:.1f}, {moved.n:,} "
        f"answers in the window)."
    )


def _together(report: DriftReport, model: str, version: str) -> str:
    """The sentence for features that no longer go together as in the reference."""
    pair = report.pairs[0]
    others = f" (and {len(report.pairs) - 1} more pairs)" if len(report.pairs) > 1 else ""
    before, after = pair.correlations
    return (
        f"{_short(pair.first)} and {_short(pair.second)}{others} of {model} {version} no longer go together as in the reference, whatever "
        f"each does alone: on different sides of their medians in {pair.before:.0%} -> {pair.after:.0%} of the events, as correlation "
        f"{before:.2f} -> {after:.2f} has it (evidence e^{report.log_evidence:.1f}, {report.n:,} events in the window)."
    )


def _as_a_whole(shift: JointShift, report: DriftReport, model: str, version: str) -> str:
    """The sentence for rows that as a whole no longer look like the reference's."""
    some = ", ".join(_short(name) for name in shift.names[:3])
    return (
        f"The features of {model} {version} no longer go together as in the reference, beyond what each, or two of them, do alone: along "
        f"the direction learned from the windows before, this one's mean is {shift.size:.2f} sd off (most of it in {some}; evidence "
        f"e^{report.log_evidence:.1f}, {report.n:,} events in the window)."
    )


_FAULTS = {
    "clock": "clock (a time too far from the broker's)",
    "duplicate": "duplicate (sent twice)",
    "late": "late (their window was closed when they came)",
    "gap": "gap (sent, by their running numbers, and not received)",
    "wrong_width": "wrong_width (another number of features)",
}
"""Kinds of fault whose name alone says too little."""


def quality(report: QualityReport, model: str, version: str) -> str:
    """The sentence for input anomalies: which kinds, how many, against how many before."""
    kinds = report.leading[:3]
    parts = [f"{_FAULTS.get(kind, kind)} {report.rates[kind]:,.0f} per 10,000 events (usually {report.usual[kind]:,.0f})" for kind in kinds]
    name, said = f"{_short(model)} {_short(version)}", ", ".join(parts) or "several kinds"
    if kinds and set(kinds) <= {"late", "gap"}:
        return f"More events of {name} than usual are late or missing: {said}."
    return f"More faulty requests than usual reach {name}: {said}."


def constant(report: ConstantReport, n: int, model: str, version: str) -> str:
    """The sentence for columns at one value: which, at what, and how much of the traffic the reference has there."""
    first = report.stuck[0]
    others = f", and so are {', '.join(_short(one.feature, 40) for one in report.stuck[1:4])}" if len(report.stuck) > 1 else ""
    more = f" and {len(report.stuck) - 4} more" if len(report.stuck) > 4 else ""
    return (
        f"{_short(first.feature)} of {_short(model)} {_short(version)} is constant: {_short(first.value, 40)} in all of {n:,} events, "
        f"of many clients (by the reference at most {first.usual:.1%} are there){others}{more}."
    )


def completeness(report: CompletenessReport, model: str, version: str) -> str:
    """The sentence for gaps in the telemetry: what is missing, or who is silent."""
    model, version = _short(model), _short(version)
    if report.severity == "page":
        who = "its one instance has not" if report.instances == 1 else f"none of its {report.instances} instances has"
        return f"{model} {version} is silent: {who} been heard of lately. Down, or cut off from Kafka?"
    return (
        f"{report.share:.2%} of the events of {model} {version} arrived: {report.missing:,} were lost on the way, "
        f"{report.dropped:,} dropped in the services; {len(report.silent)} of {report.instances} instances are silent."
    )


def accuracy(report: AccuracyReport, n: int, errors: int, since_ns: int | None, model: str, version: str) -> str:
    """The sentence for a model that is wrong more often than it was: how often, of how many labels, since when."""
    when = (
        ""
        if since_ns is None
        else f" It began with the events of about {datetime.datetime.fromtimestamp(since_ns // 10**9, datetime.UTC):%Y-%m-%d %H:%M} UTC."
    )
    return (
        f"{_short(model)} {_short(version)} is wrong more often than its reference: {errors / max(n, 1):.1%} of {n:,} labels say so "
        f"(usually {report.usual:.1%}, up to {report.highest:.1%} is no news), most of all those that come {_LATE[report.delay]} "
        f"(evidence e^{report.log_evidence:.1f}).{when}"
    )


def concept(report: AccuracyReport, n: int, errors: int, promised: float, model: str, version: str) -> str:
    """The sentence for labels that disagree with what the confidence of the answers promised."""
    return (
        f"The confidence of {_short(model)} {_short(version)} no longer means what it did: it promised {promised:.1%} errors, and "
        f"{errors / max(n, 1):.1%} of {n:,} labels say so, {report.direction} than promised (evidence "
        f"e^{report.concept_log_evidence:.1f}). What is true may have changed, or how the labels are made."
    )


_SPENT = {
    "availability": "failed", "accuracy": "say that the answer was wrong", "authorised": "were refused", "valid_input": "have a fault",
}  # fmt: skip
_SPENDERS = {"accuracy": "labels of", "valid_input": "events of"}


def burn(kind: str, found: Burn, objective: float, latency_ms: float, model: str, version: str) -> str:
    """The sentence for an error budget that is spent too fast: what share of what, over how long, how much too fast."""
    what = _SPENT.get(kind, f"took longer than {latency_ms:g} ms")
    span = f"{found.rule.long_s // 3600} h" if found.rule.long_s < 86_400 else f"{found.rule.long_s // 86_400} days"
    of = _SPENDERS.get(kind, "requests to")
    return (
        f"{found.bad / max(found.total, 1):.2%} of the {of} {_short(model)} {_short(version)} {what} in the last {span} "
        f"({found.bad:,} of {found.total:,}): its error budget is spent {found.long:.1f} times as fast as {objective:g} % allow"
        + (f", {found.incidents} page{'s' * (found.incidents > 1)} about security included." if found.incidents else ".")
    )


def loss(name: str, found: Excess, most: float, model: str, version: str) -> str:
    """The sentence for a mean loss above what was promised: how much, over how many labels."""
    span = f"{found.rule.long_s // 3600} h" if found.rule.long_s < 86_400 else f"{found.rule.long_s // 86_400} days"
    what = {"mae": "mean absolute error", "log_loss": "mean log loss"}[name]
    return (
        f"The {what} of {_short(model)} {_short(version)} is {found.long * most:.4g} over {found.n:,} labels of the last {span}, "
        f"{found.long:.2f} times the {most:g} that was promised at most."
    )


def access(report: AccessReport, first: Sequence[tuple[str, int]], model: str, version: str, quiet_days: float | None = None) -> str:
    """The sentence for refused requests: how many, against how many before, and of whom most; or after how long they are the first."""
    who = f"; most from client {_short(first[0][0])} ({first[0][1]:,})" if first else ""
    if quiet_days is not None:
        return (
            f"{report.denied:,} of {report.requests:,} requests to {_short(model)} {_short(version)} were refused, "
            f"the first in {quiet_days:.0f} days{who}."
        )
    return (
        f"{report.denied:,} of {report.requests:,} requests to {_short(model)} {_short(version)} were refused, "
        f"{1e4 * report.denied / max(report.requests, 1):,.0f} per 10,000 (usually {report.usual_per_10k:,.0f}){who}."
    )


def integrity(service: str, instance: str, why: str, model: str, version: str) -> str:
    """The sentence for a load that should not be: who loaded what, and what is wrong with it."""
    return f"{_short(service) or 'A service'} ({_short(instance)}) loaded {_short(model)} {_short(version)}, and {why}."


def saturation(full: Full, model: str, version: str) -> str:
    """The sentence for a resource that is nearly used up: which, whose, how full."""
    return (
        f"{_short(full.gauge)} of {_short(full.service) or 'a service'} ({_short(full.instance)}), which serves {_short(model)} "
        f"{_short(version)}, is at {full.share:.0%} without a break."
    )


def consistency(kind: str, report: RateReport, model: str, version: str) -> str:
    """The sentence for inputs that come again and are answered otherwise: how many, against how many before."""
    what = "put into another class" if kind == "class" else "given another score"
    return (
        f"{_short(model)} {_short(version)} no longer answers as it did: {report.hits:,} of {report.trials:,} inputs that it had answered "
        f"before were {what} (usually {report.usual:.1%}; evidence e^{report.log_evidence:.1f}), with no new version."
    )


def trigger(feature: str, value: str, klass: str, report: RateReport, model: str, version: str) -> str:
    """The sentence for a rare value that became less rare and whose rows get one class: which, how many clients."""
    return (
        f"{report.hits:,} of {report.trials:,} clients whose rows have {_short(feature)} {_short(value)}, a rare value that is asked more "
        f"than usual, got only class {_short(klass)} of {_short(model)} {_short(version)} (expected of {report.usual:.0%}; evidence "
        f"e^{report.log_evidence:.1f}). A trigger of a backdoor looks like this."
    )


def version(moved: Sequence[tuple[str, float, float]], report: VersionReport, before: str, model: str, new: str) -> str:
    """The sentence for a version that answers otherwise than the one before it: what moved, from where to where."""
    parts = [f"{_short(name, 60)} {a:.0%} -> {b:.0%}" for name, a, b in moved[:3]]
    return (
        f"Version {_short(new)} of {_short(model)} answers otherwise than version {_short(before)} before it: {', '.join(parts)} "
        f"(evidence e^{report.log_evidence:.1f} after {report.windows} windows). Meant, other traffic, or a bad model?"
    )


def feedback(segment: str, report: FeedbackReport, model: str, version: str) -> str:
    """The sentence for labels of one segment that say "wrong" all at once: which, how many, against the others."""
    rate = report.rate
    return (
        f"Labels of one segment say that {_short(model)} {_short(version)} is wrong: {_short(segment, 2 * _NAME)}, {rate.hits:,} of "
        f"{rate.trials:,} (usually {rate.usual:.1%}; all others {report.others:.1%}; evidence e^{rate.log_evidence:.1f}). Flipped labels, "
        f"or a model that fails there."
    )


def leakage(what: str, share: Share, level: float, severity: Severity, source: str, model: str, version: str) -> str:
    """The sentence for a model that gives its training rows away: by which measure, how sure, above which level of its owner."""
    by = "live answers with their labels" if source == "live" else "the rows of its reference"
    return (
        f"{_short(model)} {_short(version)} gives its training rows away: {what} is {share.value:.3f} ({share.low:.3f} to "
        f"{share.high:.3f}, 95 %) by {by}, above its owner's level to {'act' if severity == 'page' else 'warn'}, {level:g}. A lower bound."
    )


def canary(found: Finding, hits: int) -> str:
    """The sentence for a client that asked about canary records: how often, about which."""
    names = found.evidence.get("canaries")
    which = f" ({', '.join(_short(str(name), 40) for name in names[:3])})" if isinstance(names, list) and names else ""
    times = "once" if hits == 1 else f"{hits:,} times"
    return (
        f"{f'Client {_short(found.client)}' if found.client else 'A client without a name'} asked {_short(found.model)} "
        f"{_short(found.version)} {times} about a canary record{which}: a row that is nowhere but in the training data. Who knows it has "
        f"seen that data."
    )


def _short(text: str, longest: int = _NAME) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def leading_variables(report: DriftReport) -> Sequence[VariableDrift]:
    """The variables to show, strongest first."""
    by_name = {variable.name: variable for variable in report.variables}
    return [by_name[name] for name in report.leading if name in by_name]
