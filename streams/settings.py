"""What users set, in one place: types, defaults, limits, environment names.

One TOML file into one frozen tree; every setting can be given by the environment as ``INFERWATCH_SECTION_NAME`` instead, or as
``INFERWATCH_SECTION_NAME_FILE`` with the path of a file that holds it. Secrets come only in these two ways, and are never printed.
There are no alarm thresholds here: they follow from ``budget.false_pages_per_30d``.
"""

from __future__ import annotations

import base64
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

import msgspec

from schemas.retention import Retention
from streams import slo

PREFIX = "INFERWATCH_"
MASK = "***"
_LISTS = {"urls", "allow", "flagged_classes", "known_customers", "teams", "key_ids", "digests", "actions", "segments", "by_model"}
SECRETS = {("kafka", "sasl_password"), ("membership", "key"), ("clickhouse", "password")}

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Part = Annotated[float, msgspec.Meta(ge=1e-3, le=1)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class SettingsError(ValueError):
    """A setting is unknown, missing or out of range; the message names its path and what is allowed."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Kafka(_Section, frozen=True):
    """The broker, and how much of it we use."""

    bootstrap_servers: str = "127.0.0.1:9092"
    topic_prefix: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "inferwatch"
    partitions: PositiveInt = 12
    replication: PositiveInt = 1
    group: str = "inferwatch-worker"
    session_timeout_s: Positive = 10.0
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    ca_file: str = ""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = ""


class ClickHouse(_Section, frozen=True):
    """The store: ``http(s)://user@host:port/database`` of a server, or ``chdb:///folder`` for the engine inside the worker."""

    dsn: str = "http://default@127.0.0.1:8123/inferwatch"
    password: str = ""
    ca_file: str = ""
    verify: bool = True
    flush_s: Positive = 1.0


class Alertmanager(_Section, frozen=True):
    """The pager's way. Every URL gets every alert (high-availability peers); empty: alerts stay on their topic and in the store."""

    urls: tuple[Annotated[str, msgspec.Meta(pattern=r"^https?://[^/\s]\S*$")], ...] = ()
    resend_s: Positive = 30.0


class Routing(_Section, frozen=True):
    """Whose alerts these are, and where their links lead. Who is told is Alertmanager's own configuration."""

    environment: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """A label of every alert, to group and route by; empty: no such label."""
    cluster: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Another one, where one environment runs in several clusters."""
    team: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Label `team` of every alert whose model is not named in `teams`; empty: no such label."""
    teams: tuple[Annotated[str, msgspec.Meta(pattern=r"^.{1,256}=[^=]{1,64}$")], ...] = ()
    """`model=team`, one entry a model."""
    runbooks_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://\S+)?$", max_length=150)] = ""
    """Where the folder `docs/runbooks` can be read; empty: alerts name the path in the repository."""
    dashboards_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://\S+)?$", max_length=100)] = ""
    """Grafana's address, for links to its views; empty: no links."""
    deploy_mark_s: Annotated[float, msgspec.Meta(ge=0, le=30 * 86_400)] = 3_600.0
    """Drift that is told so soon after a version was first loaded is marked as of a new version. 0: never."""


class Budget(_Section, frozen=True):
    """How many false pages a month on-call accepts for one model, and which detector may spend which share of them."""

    false_pages_per_30d: Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)] = 1.0
    drift_share: Part = 0.35
    quality_share: Part = 0.20
    accuracy_share: Part = 0.10
    client_share: Part = 0.25
    membership_share: Part = 0.05
    access_share: Part = 0.05
    ticket_share: Part = 0.01
    client_events_per_30d: Positive = 2_500_000.0
    """Events of clients that the client detectors judge in 30 days: their threshold is this over (budget x share)."""


class Objectives(_Section, frozen=True):
    """What the models' services promise; their error budgets and burn rates follow."""

    availability: Annotated[float, msgspec.Meta(ge=50, le=99.9999)] = 99.9
    """Percent of the requests that are answered, of those that are answered or fail. 100 would leave no budget to spend."""
    latency_ms: Annotated[float, msgspec.Meta(gt=0, le=3_600_000)] = 200.0
    """An answer that takes longer is slow."""
    latency_share: Annotated[float, msgspec.Meta(ge=50, le=99.9999)] = 95.0
    """Percent of the answers that are not slow."""
    saturation_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.8
    """Memory, CPU, or another resource of an instance (a gauge `..._share` in its heartbeats) is a ticket from here on ..."""
    saturation_s: Positive = 60.0
    """... when it was there for so long without a break; ..."""
    saturation_cpu_s: Positive = 600.0
    """... CPU, the mean of each last minute, for so long: some busy minutes are no shortage."""
    completeness: Annotated[float, msgspec.Meta(ge=50, le=99.9999)] = 99.9
    """Percent of the produced events that arrive; below it is a ticket."""
    quiet_days: Annotated[float, msgspec.Meta(ge=0, le=366)] = 7.0
    """A refused request (unauthenticated, forbidden) is a ticket when the version was watched for so many days without any. 0: never."""
    authorised: Annotated[float, msgspec.Meta(ge=0, le=99.9999)] = 0.0
    """Percent of the requests that are not refused so; 0: no objective."""
    accuracy: Annotated[float, msgspec.Meta(ge=0, le=99.9999)] = 0.0
    """Percent of the answers with a label that are right; 0, as with the four that follow: no objective."""
    auc: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """Area under the ROC curve of the scores, by labels. Like F1 a level of all answers together, to which no request is good or bad:
    shown in the views and the report and asked by `inferwatch gate`; no alert is raised of it."""
    f1: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """F1 of the answers, by labels."""
    mae: Annotated[float, msgspec.Meta(ge=0, le=1e12)] = 0.0
    """Mean absolute error of a regression, in its own unit, at most; a ticket while it is surely above."""
    log_loss: Annotated[float, msgspec.Meta(ge=0, le=1e12)] = 0.0
    """Mean log loss of the scores, nats, at most; a ticket while it is surely above."""
    drift_free: Annotated[float, msgspec.Meta(ge=0, le=99.9999)] = 95.0
    """Percent of the windows compared with a reference in which no drift beyond the materiality is told, as ticket or page;
    0: no objective."""
    signed: Annotated[float, msgspec.Meta(ge=0, le=100)] = 100.0
    """Percent of the instances with the version loaded whose artefact has a valid signature; 0: no objective."""
    valid_input: Annotated[float, msgspec.Meta(ge=0, le=99.9999)] = 0.0
    """100 less schema violations (missing, wrong type, out of bounds, ...) in a hundred events; 0: no objective, many models know missing
    values. A change is told whatever is set here."""
    incident_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.25
    """Share of a month's error budget that a page about security spends at once (extraction, evasion, membership, canary, access,
    integrity): on the views, in `inferwatch gate`, and for burn rates. 0: none."""
    by_model: tuple[Annotated[str, msgspec.Meta(max_length=1_000)], ...] = ()
    """`model=name:value ...` or `model/version=name:value ...`, with `*` for any; what is promised otherwise there, later ones first."""


class Integrity(_Section, frozen=True):
    """Which artefacts may be loaded. A load with an invalid signature pages whatever is set here."""

    require_signature: bool = False
    """A load without a signature is a ticket, and `inferwatch gate` refuses its version."""
    key_ids: tuple[Annotated[str, msgspec.Meta(max_length=256)], ...] = ()
    """Trusted signing keys. When given, a valid signature by another key pages."""
    digests: tuple[Annotated[str, msgspec.Meta(pattern=r"^[^/]{1,256}/.{1,256}=\S{1,256}$")], ...] = ()
    """`model/version=digest`. When given for a version, another digest pages; else one that differs from the version's first."""


class Window(_Section, frozen=True):
    """How long counts are gathered before they are judged, in event time."""

    length_s: Annotated[float, msgspec.Meta(ge=0.1, le=30 * 86_400)] = 300.0
    settle_s: Positive = 10.0
    """How long the judge waits for slow partitions after a window's end."""
    max_open: PositiveInt = 4
    """Windows that a partition keeps open for one model; older events count into the oldest of them, as late."""


class Drift(_Section, frozen=True):
    """What is too small to page for."""

    materiality: Annotated[float, msgspec.Meta(ge=0, lt=0.5)] = 0.01
    latency_materiality: Annotated[float, msgspec.Meta(ge=0, lt=0.5)] = 0.05
    """The same of latency, which moves with load, where it is larger. Latency that drifts is a ticket, never a page."""
    segments: tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=256)], ...] = ()
    """Fields whose values are parts of the traffic to be judged on their own, each against its own past: ``service``, ``source``, or the
    name of a categorical feature; two at most. They have a quarter of drift's budget together. Each part is learned for two days first."""
    segments_most: Annotated[int, msgspec.Meta(ge=1, le=16)] = 8
    """Values of a field that are followed, those with the most traffic; the others' events are counted. With many variables fewer:
    400 / variables."""


class Swarm(_Section, frozen=True):
    """Rows that come together at the model's owner, so that swarms are found: many clients who together run one attack."""

    slice_s: Annotated[float, msgspec.Meta(ge=1, le=300)] = 1.0
    """How often rows come together; they are judged `window.settle_s` later."""
    rows_per_slice: Annotated[int, msgspec.Meta(ge=0, le=20_000)] = 200
    """Of one model and partition, in at most 512 KiB. Beyond, whole clients are left out, and counted. 0: no swarms are looked for."""
    clients: Annotated[int, msgspec.Meta(ge=1_000)] = 16_384
    """Followed for one model version, 320 bytes each, and 4 for each of at most 64 columns."""


class Labels(_Section, frozen=True):
    """The truth that comes later, and the answers it is compared with."""

    events: Annotated[int, msgspec.Meta(ge=0, le=50_000_000)] = 1_000_000
    """Answers of one model version that are remembered for their labels, 20 bytes each and 2 a class; the oldest go. 0: none are joined."""
    horizon_s: Annotated[float, msgspec.Meta(ge=60, le=400 * 86_400)] = 30 * 86_400.0
    """How long, in event time, an answer waits for its label."""
    share: Part = 1.0
    """Share of the events, by a hash of their id, that are followed: less for a model with more of them than are remembered."""
    waiting: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    """Labels of one model that wait for an event that has not come; the oldest go, and count as unknown."""
    wait_s: Annotated[float, msgspec.Meta(ge=1, le=30 * 86_400)] = 3_600.0
    """How long they wait; then their event is unknown."""
    materiality: Annotated[float, msgspec.Meta(ge=0, lt=0.5)] = 0.005
    segments: tuple[Annotated[str, msgspec.Meta(max_length=256)], ...] = ()
    """Features by whose quarters or categories labels are looked at, six at most; empty: those with few categories, then the first."""


class Clock(_Section, frozen=True):
    """How far an event's time may lie from the time at which it was received."""

    past_s: Positive = 7 * 86_400.0
    future_s: Positive = 300.0


class Limits(_Section, frozen=True):
    """Bounds on what an attacker could make us remember, per partition."""

    models: PositiveInt = 64
    clients: Annotated[int, msgspec.Meta(ge=10_000)] = 20_000
    """At least as many as events in a record: each may be of another client."""
    instances: PositiveInt = 1_000
    provisional_rows: PositiveInt = 2_000
    """Events from which a provisional reference is made for a model that has none."""
    outbox: PositiveInt = 10_000
    """Messages and rows that wait for Kafka or ClickHouse before the worker stops reading."""
    dead_letter_share: Share = 0.5
    """Above this share of unreadable records (of the last 1,000) a partition stops loudly."""


class Sampling(_Section, frozen=True):
    """Events kept whole for people to look at: so many of all, and as many of clients with a ticket or page. 0 keeps none."""

    events_per_window: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 32
    features: bool = True
    allow: tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=256)], ...] = ()
    """Features whose values kept events may hold, by name (an embedding's by number); empty: all. Others are judged, and not kept."""


class Membership(_Section, frozen=True):
    """The member fingerprints, and who may ask for training rows. Without the key published filters can't be used, and say so."""

    key: str = ""
    known_customers: tuple[str, ...] = ()
    """Clients, as in the events, whose own records were trained on. When given, anybody else who asks for members gets a ticket."""
    warn_advantage: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Ticket when the membership gauge's advantage (true less false positives; chance is 0) is surely at this, by its interval's low end;
    0: no level. So with the three that follow."""
    act_advantage: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Page from here on."""
    warn_tpr_1pct: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Ticket when so large a share of the training rows is found at 1 % false positives; chance is 0.01."""
    act_tpr_1pct: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Page from here on."""


class Exposure(_Section, frozen=True):
    """What the owner lets one client have, however harmless its questions look: it covers what no detector can see."""

    agreement_limit: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Ticket when a client's answers buy a copy that agrees with the model on such a share of the rows; 0: no limit."""
    flagged_classes: tuple[str, ...] = ()
    """Predicted classes whose answers are counted for each client."""


class Verdicts(_Section, frozen=True):
    """What gateways are asked to do about clients whom a page names. Off: nothing is asked, and people cannot ask either."""

    enabled: bool = False
    actions: tuple[
        Annotated[
            str,
            msgspec.Meta(
                pattern=r"^(extraction|evasion|membership|access)=(observe|block|round\([0-6]\)|throttle\((?!0+(\.0+)?\))\d{1,9}(\.\d{1,6})?\))$"
            ),
        ],
        ...,
    ] = ()
    """`family=action`, one entry a family (`extraction`, `evasion`, `membership`, `access`): `observe`, `round(digits)`,
    `throttle(requests a minute)`, `block`. A family that is not named: `observe`."""
    delay_min_s: Annotated[float, msgspec.Meta(ge=0, le=30 * 86_400)] = 600.0
    """A judge's verdict does not hold before so long after the page ..."""
    delay_max_s: Annotated[float, msgspec.Meta(ge=0, le=30 * 86_400)] = 3_600.0
    """... and holds at the latest after so long, drawn for each client: what was noticed cannot be read off when it begins."""
    length_s: Annotated[float, msgspec.Meta(ge=60, le=400 * 86_400)] = 86_400.0
    """How long it holds. While its page is still open it is prolonged."""
    clients: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    """Verdicts that one partition's judge keeps; beyond, new ones are counted and not issued."""


class State(_Section, frozen=True):
    """Where snapshots live, and how often they are taken."""

    store: Literal["folder", "kafka"] = "folder"
    """``folder``: workers of one host. ``kafka``: of any number of hosts, in the topic ``state``."""
    folder: str = ".inferwatch/state"
    snapshot_s: Positive = 1.0


class Metrics(_Section, frozen=True):
    """Where ``/metrics`` and ``/healthz`` are served; port 0 picks a free one."""

    host: str = "0.0.0.0"  # noqa: S104 - a container's port is published on purpose
    port: Port = 9464
    stall_s: Positive = 15.0
    """The worker exits when records wait and none has moved for so long. It is gone within half as long again and ten seconds."""


class Log(_Section, frozen=True):
    """How the worker writes its log: ``json`` lines for machines, ``text`` for people."""

    format: Literal["json", "text"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(_Section, frozen=True):
    """The whole tree."""

    kafka: Kafka = Kafka()
    clickhouse: ClickHouse = ClickHouse()
    alertmanager: Alertmanager = Alertmanager()
    routing: Routing = Routing()
    budget: Budget = Budget()
    objectives: Objectives = Objectives()
    integrity: Integrity = Integrity()
    window: Window = Window()
    drift: Drift = Drift()
    swarm: Swarm = Swarm()
    labels: Labels = Labels()
    clock: Clock = Clock()
    limits: Limits = Limits()
    sampling: Sampling = Sampling()
    membership: Membership = Membership()
    exposure: Exposure = Exposure()
    verdicts: Verdicts = Verdicts()
    state: State = State()
    metrics: Metrics = Metrics()
    log: Log = Log()
    retention: Retention = Retention()


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file (or the defaults), with what the environment overrides.

    Raises:
        SettingsError: naming the path of what is unknown, of the wrong type, out of range, or a secret in the file.

    Example:
        >>> load(None, {"INFERWATCH_BUDGET_FALSE_PAGES_PER_30D": "2"}).budget.false_pages_per_30d
        2.0
        >>> load(None, {"INFERWATCH_WINDOW_LENGHT_S": "60"})
        Traceback (most recent call last):
        streams.settings.SettingsError: INFERWATCH_WINDOW_LENGHT_S: no such setting; [window] has length_s, max_open, settle_s
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text())
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:  # of a number with thousands of digits, of brackets in brackets: no TOMLDecodeError
            raise SettingsError(f"{path}: {error}") from error
        _refuse_secrets(path, tree)
    _override(tree, os.environ if environ is None else environ)
    try:
        slo.check(tree.get("objectives"))
        settings = msgspec.convert(tree, Settings, strict=False)
    except (msgspec.ValidationError, slo.ObjectiveError) as error:
        raise SettingsError(f"{path or 'settings'}: {_in_words(str(error))}") from error
    verdicts = settings.verdicts
    if verdicts.delay_max_s < verdicts.delay_min_s:
        raise SettingsError(f"verdicts.delay_max_s: {verdicts.delay_max_s:g} is below verdicts.delay_min_s, {verdicts.delay_min_s:g}")
    if len(settings.drift.segments) > 2:
        raise SettingsError(
            f"drift.segments: {', '.join(settings.drift.segments)[:300]} are {len(settings.drift.segments)} fields, at most 2"
        )
    return check_budget(settings)


def windows_in_30d(window: Window) -> float:
    """Windows that close in thirty days, for which the budget is.

    Example:
        >>> windows_in_30d(Window(length_s=300.0))
        8640.0
    """
    return 30 * 86_400 / window.length_s


SEGMENTS_SHARE = 0.25
"""Of drift's budget, for all segments together, when any are asked for."""


def drift_pages(settings: Settings) -> tuple[float, float]:
    """False pages in 30 days that drift may cause: of the whole traffic of a model version, and of its segments together.

    Example:
        >>> drift_pages(Settings())
        (0.35, 0.0)
        >>> [round(pages, 4) for pages in drift_pages(Settings(drift=Drift(segments=("service",))))]
        [0.2625, 0.0875]
    """
    pages = settings.budget.false_pages_per_30d * settings.budget.drift_share
    apart = SEGMENTS_SHARE if settings.drift.segments else 0.0
    return pages * (1.0 - apart), pages * apart


CONSTANT_SHARE = 0.1
"""Of input quality's budget, for constant columns; the other kinds, late events and gaps among them, are one mixture with the rest."""


def quality_pages(settings: Settings) -> tuple[float, float]:
    """False pages in 30 days that input quality may cause: by kinds of faults, and by constant columns.

    Example:
        >>> [round(pages, 4) for pages in quality_pages(Settings())]
        [0.18, 0.02]
    """
    pages = settings.budget.false_pages_per_30d * settings.budget.quality_share
    return pages * (1.0 - CONSTANT_SHARE), pages * CONSTANT_SHARE


def false_tickets(budget: Budget) -> float:
    """False tickets in 30 days that each detector which opens tickets only may cause: a hundred for each page, times its share.

    Example:
        >>> false_tickets(Budget())
        1.0
    """
    return 100.0 * budget.false_pages_per_30d * budget.ticket_share


def check_budget(settings: Settings) -> Settings:
    """The settings, when the budget is one that evidence can be asked for.

    Raises:
        SettingsError: so many false pages are allowed that a page would need hardly any evidence: a page every window, or one every
            hundred events of clients, where a ticket needs a hundredth of a page's evidence.
    """
    budget = settings.budget
    most = min(
        windows_in_30d(settings.window) / max(budget.drift_share, budget.quality_share, budget.accuracy_share, budget.access_share),
        budget.client_events_per_30d / 100 / max(budget.client_share, budget.membership_share),
    )
    if not budget.false_pages_per_30d < most:  # so that NaN is refused too
        raise SettingsError(
            f"budget.false_pages_per_30d: {budget.false_pages_per_30d:g} is too many; with these windows, shares and client events it must "
            f"be below {most:,.6g}"
        )
    return settings


def masked(settings: Settings) -> dict[str, Any]:
    """The tree as it may be shown: secrets and passwords inside URLs replaced by `MASK`."""
    tree: dict[str, Any] = msgspec.to_builtins(settings)
    for section, name in SECRETS:
        if tree[section][name]:
            tree[section][name] = MASK
    tree["clickhouse"]["dsn"] = mask_url(settings.clickhouse.dsn)
    tree["alertmanager"]["urls"] = [mask_url(url) for url in settings.alertmanager.urls]
    return tree


def secrets_of(settings: Settings) -> frozenset[str]:
    """Every text that must not be shown, in the forms in which libraries write it: inside URLs quoted or not, as basic authentication.

    Example:
        >>> sorted(secrets_of(load(None, {"INFERWATCH_CLICKHOUSE_DSN": "https://w:a%20b@db/x"})))
        ['a b', 'a%20b', 'dzphIGI=']
    """
    found = {str(getattr(getattr(settings, section), name)) for section, name in SECRETS}
    for url in (settings.clickhouse.dsn, *settings.alertmanager.urls):
        user, _, password = re.sub(r"^[^/]*//", "", url).rpartition("@")[0].partition(":")
        found |= {password, unquote(password)}
        if password:
            found.add(base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode())
        found |= {value for _, value in _IN_QUERY.findall(url)} | {unquote(value) for _, value in _IN_QUERY.findall(url)}
    if settings.clickhouse.password:
        user = re.sub(r"^[^/]*//", "", settings.clickhouse.dsn).rpartition("@")[0]
        found |= {
            quote(settings.clickhouse.password, safe=""),
            base64.b64encode(f"{unquote(user)}:{settings.clickhouse.password}".encode()).decode(),
        }
    return frozenset(found - {""})


def mask_url(url: str) -> str:
    """The URL without its password.

    Example:
        >>> mask_url("https://writer:hunter2@db:8443/inferwatch")
        'https://writer:***@db:8443/inferwatch'
    """
    return _IN_QUERY.sub(rf"\1{MASK}", re.sub(r"(://[^/@:]*):.*@", rf"\1:{MASK}@", url))


_IN_QUERY = re.compile(r"(?i)([?&][^=&#]*(?:password|passwd|secret|token|key)[^=&#]*=)([^&#\s]+)")


def secret_of(variable: str, environ: Mapping[str, str]) -> str:
    """A secret that is no setting: of this variable, or of the file that the variable with ``_FILE`` names; empty when there is neither.

    Raises:
        SettingsError: the file cannot be read.
    """
    file = environ.get(f"{variable}_FILE", "")
    return environ.get(variable, "") or (_read_secret(f"{variable}_FILE", file) if file else "")


_SHAPES = {
    "kafka.topic_prefix": "letters, digits, '.', '_' and '-', 1 to 100 of them",
    "alertmanager.urls": "an address such as http://alertmanager:9093",
    "routing.teams": "MODEL=TEAM, such as fraud=payments",
    "routing.runbooks_url": "an address such as https://docs.example/runbooks, or nothing",
    "routing.dashboards_url": "an address such as https://grafana.example, or nothing",
    "integrity.digests": "MODEL/VERSION=DIGEST, such as fraud/8=sha256:1f2e",
    "verdicts.actions": "FAMILY=ACTION: extraction, evasion, membership or access, and observe, block, round(0 to 6) or throttle(above 0)",
}
"""What a text must look like, where a pattern says it to machines."""


def _in_words(error: str) -> str:
    """The message of msgspec, with what is expected in words where it gives a regular expression."""
    found = re.fullmatch(r"Expected `str` matching regex .* - at `\$\.([a-z_]+\.[a-z_]+)(.*)`", error, re.DOTALL)
    if found is None or found[1] not in _SHAPES:
        return error
    return f"Expected {_SHAPES[found[1]]} - at `$.{found[1]}{found[2]}`"


def _refuse_secrets(path: Path, tree: dict[str, Any]) -> None:
    for section, name in SECRETS:
        if isinstance(tree.get(section), dict) and name in tree[section]:
            variable = f"{PREFIX}{section}_{name}".upper()
            raise SettingsError(f"{path}: {section}.{name} is a secret; give it as {variable} or {variable}_FILE, not in a settings file")
    dsn = tree.get("clickhouse", {}).get("dsn", "") if isinstance(tree.get("clickhouse"), dict) else ""
    if isinstance(dsn, str) and mask_url(dsn) != dsn:
        raise SettingsError(
            f"{path}: clickhouse.dsn holds a password; give it as {PREFIX}CLICKHOUSE_PASSWORD or {PREFIX}CLICKHOUSE_PASSWORD_FILE"
        )
    urls = tree.get("alertmanager", {}).get("urls", []) if isinstance(tree.get("alertmanager"), dict) else []
    if isinstance(urls, list) and any(isinstance(url, str) and mask_url(url) != url for url in urls):
        raise SettingsError(
            f"{path}: alertmanager.urls holds a password; give it as {PREFIX}ALERTMANAGER_URLS or {PREFIX}ALERTMANAGER_URLS_FILE"
        )


def _override(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    sections = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    for variable, given in sorted(environ.items()):
        if not variable.startswith(PREFIX):
            continue
        section, _, name = variable.removeprefix(PREFIX).lower().partition("_")
        if section not in sections or not name:
            continue  # the SDK and the tools have variables of their own
        fields = {field.name for field in msgspec.structs.fields(sections[section])}
        value = given
        if name not in fields and name.endswith("_file") and name.removesuffix("_file") in fields:
            name = name.removesuffix("_file")
            value = _read_secret(variable, given)
        if name not in fields:
            raise SettingsError(f"{variable}: no such setting; [{section}] has {', '.join(sorted(fields))}")
        part = tree.setdefault(section, {})
        if not isinstance(part, dict):
            raise SettingsError(f"{section}: expected a table, got {type(part).__name__}")
        part[name] = [v.strip() for v in value.split(",") if v.strip()] if name in _LISTS else value


def _read_secret(variable: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{variable}: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{variable}: {path}: not UTF-8 text") from error
    except ValueError as error:  # a NUL in the path
        raise SettingsError(f"{variable}: {path!r}: {error}") from error
