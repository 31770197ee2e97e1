"""What the views share: the filters by their variables, written as ``@name`` and filled in here, the variables themselves, and colours."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import dedent

from dashboards.panels import Column, Link, Steps, Variable
from dashboards.promised import Promise, choose

__all__ = [
    "CLIENT",
    "FEATURE",
    "MODEL",
    "PSI",
    "SERVICE",
    "SEVERITY",
    "SLOW",
    "VERSION",
    "Objectives",
    "client_column",
    "model_column",
    "of_clients",
    "sql",
]

_MODEL = "$__conditionalAll(model IN (${model:singlequote}), $model)"
_VERSION = "$__conditionalAll(version IN (${version:singlequote}), $version)"
_SERVICE = "$__conditionalAll(service IN (${service:singlequote}), $service)"
_FILTERS = {
    "@scope": f"{_MODEL} AND {_VERSION}",
    "@model": _MODEL,
    "@client": "$__conditionalAll(client IN (${client:singlequote}), $client)",
    "@about_client": "$__conditionalAll((client IN (${client:singlequote}) OR hasAny(clients, [${client:singlequote}])), $client)",
    # With all clients chosen there is none to be set beside the others.
    "@one_of": "($__conditionalAll(client IN (${client:singlequote}), $client) AND NOT $__conditionalAll(1=0, $client))",
    "@feature": "$__conditionalAll(feature IN (${feature:singlequote}), $feature)",
    "@service": _SERVICE,
    # An instance that serves several models may leave the model of a heartbeat empty.
    "@beat": "$__conditionalAll(model IN ('', ${model:singlequote}), $model) AND "
    f"$__conditionalAll(version IN ('', ${{version:singlequote}}), $version) AND {_SERVICE}",
    "@strongest": "greatest(ln_extraction, ln_evasion, ln_membership)",
    # Whole days, and largest values only: what the projection client_days has (schemas/migrations/0002).
    "@days": "toStartOfDay(start) >= toStartOfDay(toDateTime($__fromTime, 'UTC')) AND toStartOfDay(start) <= $__toTime",
    # The projection has evidence['x'] as it is written; the analyser would make a subcolumn of it and then not find it there.
    "@as_projected": "SETTINGS optimize_functions_to_subcolumns = 0",
    "@surest": "greatest(max(ln_extraction), max(ln_evasion), max(ln_membership))",
}
# The newest revision of each row of some clients, which the projection by_client finds without a scan; FINAL would not use it.
_OF_CLIENTS = """
    SELECT * FROM client_windows WHERE $__timeFilter(start) AND @scope AND client IN (
        SELECT client FROM client_windows WHERE @days AND @scope AND @client GROUP BY client ORDER BY @order, client LIMIT @most
        @as_projected
    )
    ORDER BY revision DESC LIMIT 1 BY model, version, start, client
"""


def sql(text: str) -> str:
    """Panel SQL with its filters in place.

    ``@scope`` is model and version, ``@model`` the model alone, ``@client`` the client, ``@one_of`` the client unless all are chosen,
    ``@about_client`` an alert about the client or a group with it, ``@feature`` the feature, ``@service`` the service, ``@beat`` model,
    version and service of a heartbeat, ``@strongest`` the strongest of a client's three scores, ``@surest`` its largest over rows that are
    grouped, ``@days`` the days of the time range.

    >>> sql("SELECT 1 WHERE @model")
    'SELECT 1 WHERE $__conditionalAll(model IN (${model:singlequote}), $model)'
    """
    for name, condition in sorted(_FILTERS.items(), reverse=True):  # @about_client before anything it begins with
        text = text.replace(name, condition)
    return dedent(text).strip()


def of_clients(text: str, most: int, order: str = "@surest DESC") -> str:
    """Panel SQL with the rows of the ``most`` first of the chosen clients as ``@rows``.

    Which clients are first is asked of the whole days that the time range touches; their rows are those of the range.

    Args:
        text: The SQL.
        most: How many clients.
        order: What puts a client first: largest values of columns that the projection has.
    """
    return sql(text.replace("@rows", f"({_OF_CLIENTS.replace('@order', order).replace('@most', str(most))})"))


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """What the installation's settings promise: the views draw their lines there. The defaults are those of the settings.

    Attributes:
        false_pages_per_30d: The page budget, 0.001 to 1000.
        ln_page_client: ln of the evidence at which a client's questions page; a ticket is ln 100 below.
        ln_page_drift: The same for drift.
        availability: Answered / (answered + failed) that is promised, in percent.
        latency_p95_ms: Latency that 95 % of the answers are to stay below.
        completeness: Share of the events that are to arrive.
        incident_share: Share of the error budget that a page about security spends.
        page_shares: Share of the page budget by detector; those that are not named page by rules. Extraction and evasion have one together.
        promised: The settings' other objectives by name; 0 is none.
        by_model: What is promised otherwise for some models and versions, later ones first; completeness in percent, as in the settings.
    """

    false_pages_per_30d: float = 1.0
    ln_page_client: float = 16.12
    ln_page_drift: float = 10.11
    availability: float = 99.9
    latency_p95_ms: float = 200.0
    completeness: float = 0.999
    incident_share: float = 0.25
    page_shares: Mapping[str, float] = field(
        default_factory=lambda: {
            "drift": 0.35, "quality": 0.20, "accuracy": 0.10, "extraction": 0.25, "evasion": 0.25, "membership": 0.05, "access": 0.05,
        }
    )  # fmt: skip
    promised: Mapping[str, float] = field(
        default_factory=lambda: {
            "latency_share": 95.0, "accuracy": 0.0, "auc": 0.0, "f1": 0.0, "mae": 0.0, "log_loss": 0.0, "drift_free": 95.0,
            "authorised": 0.0, "signed": 100.0, "valid_input": 0.0,
        }
    )  # fmt: skip
    by_model: tuple[Promise, ...] = ()

    def __post_init__(self) -> None:
        if not 0.001 <= self.false_pages_per_30d <= 1000:
            raise ValueError(f"false_pages_per_30d = {self.false_pages_per_30d}: expected 0.001 to 1000")

    def differ(self, name: str) -> bool:
        """Whether some model has an objective of its own by this name: no single line can then be drawn."""
        return any(name == given for promise in self.by_model for given, _ in promise.values)

    def fill(self, text: str) -> str:
        """SQL with what is promised for a row's model and version in place.

        ``@promised_availability`` is in percent, and what the viewer sets for models that have no objective of their own;
        ``@promised_latency`` is in ms, ``@promised_completeness`` a share.

        >>> Objectives().fill("SELECT @promised_latency, @promised_completeness")
        'SELECT 200.0, 99.9 / 100'
        """
        of = {
            "@promised_availability": ("availability", "toFloat64(${objective:raw})"),
            "@promised_latency": ("latency_ms", repr(float(self.latency_p95_ms))),
            "@promised_completeness": ("completeness", repr(round(100 * self.completeness, 6))),
        }
        for name, (objective, otherwise) in of.items():
            text = text.replace(name, choose(self.by_model, objective, otherwise) + (" / 100" if objective == "completeness" else ""))
        return text

    def client_steps(self) -> Steps:
        """Colours of a client's evidence."""
        return _evidence(self.ln_page_client)

    def drift_steps(self) -> Steps:
        """Colours of the evidence of drift."""
        return _evidence(self.ln_page_drift)

    def budget(self) -> Variable:
        """The page budget, which the viewer may change."""
        return Variable(
            name="budget",
            label="False pages per 30 d",
            description="The worker's setting false_pages_per_30d",
            value=f"{self.false_pages_per_30d:g}",
        )

    def objective(self) -> Variable:
        """The objective of the burn rates, which the viewer may change."""
        return Variable(
            name="objective",
            label="Availability, %",
            description="Objective for answered requests, of models that have none of their own in the settings",
            value=f"{self.availability:g}",
        )


_LN_100 = 4.61


def _evidence(ln_page: float) -> Steps:
    return ((None, "green"), (round(ln_page - _LN_100, 2), "orange"), (round(ln_page, 2), "red"))


MODEL = Variable(
    name="model",
    label="Model",
    description="Models with traffic in the time range",
    sql="SELECT DISTINCT model FROM windows WHERE $__timeFilter(start) ORDER BY model LIMIT 500",
)
VERSION = Variable(
    name="version",
    label="Version",
    description="Versions of these models with traffic in the time range",
    sql=sql("SELECT DISTINCT version FROM windows WHERE $__timeFilter(start) AND @model ORDER BY version LIMIT 500"),
)
SERVICE = Variable(
    name="service",
    label="Service",
    description="Services with requests in the time range. It chooses among what is told by service (instances, heartbeats, loads, bad "
    "input, refusals, kept events); what is judged of a model version is of all its services",
    sql=sql(
        "SELECT DISTINCT service FROM service_windows WHERE $__timeFilter(start) AND @scope AND service != '' ORDER BY service LIMIT 500"
    ),
)
CLIENT = Variable(
    name="client",
    label="Client",
    description="The 200 clients with the most evidence on the days of the time range",
    sql=sql("""
        SELECT client FROM client_windows WHERE @days AND @scope GROUP BY client ORDER BY @surest DESC, client LIMIT 200
    """),
)
FEATURE = Variable(
    name="feature",
    label="Feature",
    description="Features, and what the model answers (class, score, latency), the surest to have moved first",
    sql=sql("""
        SELECT feature FROM feature_windows WHERE $__timeFilter(start) AND @scope GROUP BY feature
        ORDER BY max(log_evidence) DESC, feature LIMIT 1000
    """),
)
SLOW = Variable(
    name="slow",
    label="Slow window, h",
    description="Hours whose windows are added up to one, to see slow drift beside the newest window",
    value="24",
)

PSI: Steps = ((None, "green"), (0.1, "yellow"), (0.25, "red"))
"""The usual reading of PSI: below 0.1 stable, above 0.25 changed."""

SEVERITY = Column(name="severity", width=80, words={"page": "red", "ticket": "orange"})


def client_column(*, width: int | None = None) -> Column:
    """A client; a click opens what is known of it, with the same models and time range."""
    return Column(name="client", width=width, link=Link(title="What this client did", view="forensics", values={"client": "client"}))


def model_column(view: str = "debug") -> Column:
    """A model; a click opens ``view`` for it."""
    return Column(name="model", link=Link(title="This model", view=view, values={"model": "model"}))
