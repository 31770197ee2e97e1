"""How long the views' panels take on 30 days of a busy model, on the real engine, with rows that the store makes up.

`python -m bench.views` prints a line a panel. CPU is what all threads of the engine used: on a machine with a free core a panel takes no
longer. The clock beside it says what else ran.

One model version, 10 million events a day in windows of five minutes, 100 features and three outputs, 12 partitions that each name their
200 clients of a window and keep 32 events of it, ten instances of eight services, labels of five delays, four workers: 8,640 windows,
890,000 rows of features, 20.7 million of clients, 3.3 million sampled events, 86,400 of labels, 346,000 of workers.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dashboards.build import views
from dashboards.choice import Extent, choose
from dashboards.macros import bind
from dashboards.scope import Objectives
from streams.clickhouse import ClickHouse
from streams.migrate import migrate

WINDOW_S, DAYS = 300, 30
_EVERYTHING = Objectives(
    promised={
        "latency_share": 95.0, "accuracy": 90.0, "auc": 0.9, "f1": 0.9, "mae": 1.0, "log_loss": 0.5, "drift_free": 95.0, "authorised": 99.0,
        "signed": 100.0, "valid_input": 99.9,
    }
)  # fmt: skip
_FEATURE = "if(number % {wide} < {features}, concat('feature-', toString(number % {wide})), concat('score:', toString(number % {wide})))"


@dataclass(frozen=True)
class Size:
    """How much there is.

    Attributes:
        days: Of windows.
        features: Of the model; three outputs come beside them.
        clients: Named in a window, over all partitions.
        sampled: Events kept of a window, over all partitions.
        instances: Of services.
    """

    days: int = DAYS
    features: int = 100
    clients: int = 12 * 200
    sampled: int = 12 * 32
    instances: int = 10

    @property
    def windows(self) -> int:
        """How many."""
        return self.days * 86_400 // WINDOW_S


def fill(clickhouse: ClickHouse, size: Size, end: datetime) -> None:
    """Makes the rows inside the engine, day by day, as they would have come in."""
    migrate(clickhouse)
    for sql in _inserts(size, end):
        clickhouse.command(sql)


def _inserts(size: Size, end: datetime) -> Iterator[str]:
    """One statement a table and day. Clients come and go: a hundred thousand, a few of them with evidence."""
    per_day = 86_400 // WINDOW_S
    for day in range(size.days):
        first = int((end - timedelta(days=size.days - day)).timestamp())
        wide = size.features + 3

        def start(rows: int, first: int = first) -> str:
            return f"toDateTime64({first} + intDiv(number, {rows}) * {WINDOW_S}, 3, 'UTC')"

        yield f"""INSERT INTO windows (revision, model, version, start, end, reference, n, n_clients, n_effective, accepted, late, rejected,
            status, errors, denied, latency_bins, latency_p50, latency_p95, latency_p99, classes, drift_log_evidence, drift_severity,
            features, features_beyond, judged_at)
            SELECT 0, 'busy', '1', {start(1)} AS at, at + {WINDOW_S}, 'r', 34722, 5000, 20000, 34722, 3, map('not_finite', 2),
            map('ok', 34700, 'error', 20, 'forbidden', 2), 20, 2, arrayMap(k -> (k * 7919 + number) % 97, range(400)), 12,
            40 + number % 7, 90,
            map('a', 20000 + number % 500, 'b', 14000), -3 + number % 5, '', {size.features}, number % 97 = 0,
            at + {WINDOW_S + 12} FROM numbers({per_day})"""
        yield f"""INSERT INTO feature_windows (revision, model, version, start, feature, kind, n, missing, psi, w1, js, ks, log_evidence,
            severity, cells, expected, past, widths, tenths, mean_shift, cell_names)
            SELECT 0, 'busy', '1', {start(wide)}, {_FEATURE.format(wide=wide, features=size.features)}, 'numeric', 34722, number % 5,
            (cityHash64(number) % 1000) / 1e4, (cityHash64(number, 1) % 1000) / 1e4, 0.001, 0.01, -4 + (cityHash64(number, 2) % 50) / 10,
            '',
            arrayMap(k -> toUInt64(1990 + cityHash64(number, k) % 100), range(17)),
            arrayMap(k -> toFloat32((16 + cityHash64(number % {wide}, intDiv(number, {12 * wide}) % 168, k) % 4) / 300), range(17)),
            arrayMap(k -> toUInt64(5000 + cityHash64(number % {wide}, k) % 100), range(17)),
            arrayMap(k -> toFloat32((cityHash64(number % {wide}, k) % 100) / 200), range(17)), range(0, 17, 2), 0.01,
            arrayMap(k -> concat(toString((k + number % {wide} * 17) / 8), ' to ', toString((k + 1 + number % {wide} * 17) / 8)), range(17))
            FROM numbers({per_day * wide})"""
        yield f"""INSERT INTO client_windows (revision, model, version, start, client, n, errors, denied, repeats, ln_extraction,
        ln_evasion,
            ln_membership, severity, evidence) SELECT 0, 'busy', '1', {start(size.clients)},
            lower(hex(sipHash128(cityHash64(number) % 100000))) AS who, 1 + cityHash64(number) % 30, 0, number % 97 = 0, number % 13,
            (cityHash64(number, 1) % 700) / 100, (cityHash64(number, 2) % 700) / 100, -2, if(cityHash64(number) % 100000 < 20, 'ticket',
            ''),
            map('extraction', 1, 'evasion', 2, 'membership', -2, 'distinct_answers', cityHash64(number) % 1000, 'copy_agreement', 0.6,
            'members_touched', cityHash64(number) % 7 = 0, 'flagged_answers', 0,
            'distinct_rows', 20 + cityHash64(number) % 1000, 'near_rows', cityHash64(number, 3) % 20, 'edited_rows', 2, 'near_flips', 1)
            FROM numbers({per_day * size.clients})"""
        yield f"""INSERT INTO sampled_events (revision, model, version, at, event_id, client, service, instance, trace_id, features, scores,
            prediction, latency_ms, status, feature_view, feature_age_s, reason) SELECT 0, 'busy', '1',
            {start(size.sampled)} + (number % {size.sampled}) * {WINDOW_S} / {size.sampled + 1}, concat('e-', toString({day}), '-',
            toString(number)),
            lower(hex(sipHash128(cityHash64(number) % 100000))), 'shop', concat('shop-', toString(number % {size.instances})),
            lower(hex(sipHash128(number))),
            mapFromArrays(arrayMap(k -> concat('feature-', toString(k)), range({size.features})),
                arrayMap(k -> (cityHash64(number, k) % 1000) / 10, range({size.features}))),
            [0.5 + (cityHash64(number) % 500) / 1000, 0.5 - (cityHash64(number) % 500) / 1000], if(number % 3 = 0, 'a', 'b'), 10, 'ok',
            concat('view:', toString(number % 3)), number % 600, 'random'
            FROM numbers({per_day * size.sampled})"""
        yield f"""INSERT INTO producers (revision, service, instance, model, version, at, accepted, sent, dropped, received, highest_number,
            rss_bytes, cpu_seconds, completeness, gauges)
            SELECT 0, 'shop', concat('shop-', toString(number % {size.instances})), 'busy', '1',
            {start(size.instances)}, number, number, 0, number, number, 200000000, number / 100, 1,
            map('memory_share', 0.5 + number % 30 / 100, 'gpu_share', 0.6, 'queue', toFloat64(number % 5))
            FROM numbers({per_day * size.instances})"""
        yield f"""INSERT INTO quality_windows (revision, model, version, start, service, kind, n, per_10k) SELECT 0, 'busy', '1',
        {start(4)},
            'shop', ['missing', 'wrong_type', 'out_of_bounds', 'unseen_category'][number % 4 + 1], 3, 0.9 FROM numbers({per_day * 4})"""
        yield from _newer(size, first, per_day)
        yield f"""INSERT INTO alerts (revision, alert_id, model, version, detector, alertname, severity, state, opened_at, at, client,
        clients,
            log_evidence, summary, techniques, evidence) SELECT 0, concat('{day}-', toString(intDiv(number, 2))), 'busy', '1',
            ['drift', 'extraction', 'evasion', 'quality'][intDiv(number, 2) % 4 + 1], 'InferwatchX', 'ticket',
            if(number % 2 = 0 OR number = 19, 'firing', 'resolved'), toDateTime64({first} + intDiv(number, 2) * 7200, 3, 'UTC') AS opened,
            opened + number % 2,
            'c', if(intDiv(number, 2) = 1, ['a', 'b'], []), 12, 'x', ['AML.T0015'],
            '{{"statistic":"flips","hits":9,"judged":40,"near_rows":30,"chain":[{{"event_id":"e","answer":"a"}}]}}' FROM numbers(20)"""


def _newer(size: Size, first: int, per_day: int) -> Iterator[str]:
    """What services, labels, loads, workers and people add in a day: labels of five delays in ten parts a window, told with every class."""
    start = f"toDateTime64({first} + intDiv(number, {{}}) * {WINDOW_S}, 3, 'UTC')"
    yield f"""INSERT INTO service_windows (revision, model, version, start, service, n, status) SELECT 0, 'busy', '1', {start.format(8)},
        concat('shop-', toString(number % 8)), 4340, map('ok', 4336, 'error', 2, 'forbidden', 2) FROM numbers({per_day * 8})"""
    yield f"""INSERT INTO accuracy_windows (revision, model, version, start, delay, part, known_at, n, errors, log_loss_n, log_loss,
        expected_n, expected_errors, classes, answer_codes, answer_counts, score_codes, score_counts)
        SELECT 0, 'busy', '1', {start.format(10)} AS at, ['1m', '1h', '1d', '1w', 'more'][number % 5 + 1], number % 10, at + 600, 300, 20,
        300, 90, 300, 21, 2, [0, 1, 2, 3], [180, 8, 12, 100], range(180), arrayMap(k -> 1 + cityHash64(number, k) % 3, range(180))
        FROM numbers({per_day * 10})"""
    yield f"""INSERT INTO accuracy_estimates (revision, model, version, start, n, unscored, accuracy, low, high)
        SELECT 0, 'busy', '1', {start.format(1)}, 34722, 22, 0.93, 0.92, 0.94 FROM numbers({per_day})"""
    yield f"""INSERT INTO membership_gauge (revision, model, version, at, source, reference, members, non_members, balanced_accuracy,
        balanced_accuracy_low, balanced_accuracy_high, tpr_1pct, tpr_1pct_low, tpr_1pct_high)
        SELECT 0, 'busy', '1', toDateTime64({first}, 3, 'UTC'), ['reference', 'live'][number + 1], 'r', 9000, 9000, 0.53, 0.52, 0.54, 0.014,
        0.012, 0.016 FROM numbers(2)"""
    yield f"""INSERT INTO loads (revision, model, version, service, instance, at, kind, digest, signature, key_id)
        SELECT 0, 'busy', '1', 'shop', concat('shop-', toString(number)), toDateTime64({first} + number, 3, 'UTC'), 'loaded', 'sha256:1',
        'valid', 'k' FROM numbers({size.instances})"""
    yield f"""INSERT INTO workers (revision, worker, at, started_at, gauges)
        SELECT 0, concat('host-', toString(number % 4), ':9464'), toDateTime64({first} + intDiv(number, 4) * 30, 3, 'UTC'),
        toDateTime64({first}, 3, 'UTC'), map('lag:inferwatch.events', 5, 'lag:inferwatch.labels', 1, 'partitions:shard', 3,
        'snapshot_age_s', 1.5, 'snapshot_bytes:shard', 1e6, 'snapshot_bytes:judge', 2e6, 'evicted:clients', number, 'least_delay_s', 0.02,
        'labels:joined', number, 'dead_letters:truncated', 2, 'labels:unknown', 1) FROM numbers({4 * 2880})"""
    yield f"""INSERT INTO acknowledgements (revision, alert_id, opened_at, model, version, detector, severity, verdict, at, judged_by)
        SELECT 0, concat('ack-', toString({first})), toDateTime64({first}, 3, 'UTC'), 'busy', '1', 'drift', 'ticket', 'true',
        toDateTime64({first} + 900, 3, 'UTC'), 'ada'"""


@dataclass(frozen=True)
class Timing:
    """Seconds of one panel, medians and the largest of its runs, and its rows.

    Attributes:
        view: The view.
        panel: Its title, or the variable's name.
        cpu_s: CPU of all threads.
        wall_s: By the clock, from the question to the last row.
        largest_s: By the clock, of the slowest run.
        rows: Of the answer.
    """

    view: str
    panel: str
    cpu_s: float
    wall_s: float
    largest_s: float
    rows: int


def questions(end: datetime, days: int = DAYS) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """View, title, SQL and parameters of every panel and variable: the whole time, all models and clients, every objective set."""
    extent = Extent(end - timedelta(days=days), end, timedelta(seconds=WINDOW_S))
    for name, view in views(_EVERYTHING).items():
        choice = choose(view, [("span", f"{days}d")], extent, end)
        step_ms = round(choice.step.total_seconds() * 1000)
        asked = [(panel.title, panel.sql) for panel in view.panels if panel.sql]
        asked += [(f"variable {variable.name}", variable.sql) for variable in view.variables if variable.sql]
        for title, sql in asked:
            yield name, title, *bind(sql, start=choice.start, end=choice.end, interval_ms=step_ms, variables=choice.values(view))


def measure(clickhouse: ClickHouse, end: datetime, *, days: int = DAYS, runs: int = 3) -> list[Timing]:
    """Each of the `questions`, asked some times."""
    found = []
    for name, title, text, values in questions(end, days):
        wall, cpu, rows = [], [], 0
        for _ in range(runs):
            began, cpu_began = time.perf_counter(), time.process_time()
            rows = len(clickhouse.query(text, values))
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - cpu_began)
        found.append(Timing(name, title, statistics.median(cpu), statistics.median(wall), max(wall), rows))
    return found


def main(days: int = DAYS) -> None:
    """Prints a line a panel, the slowest first."""
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    with tempfile.TemporaryDirectory() as folder, ClickHouse(f"chdb://{Path(folder) / 'views'}?database=inferwatch") as clickhouse:
        began = time.perf_counter()
        fill(clickhouse, Size(days=days), end)
        print(f"rows made in {time.perf_counter() - began:.0f} s")
        print("    CPU     clock   slowest")
        for one in sorted(measure(clickhouse, end, days=days), key=lambda one: -one.cpu_s):
            print(f"{one.cpu_s:7.3f} s {one.wall_s:7.3f} s {one.largest_s:7.3f} s  {one.rows:6,} rows  {one.view}: {one.panel}")


if __name__ == "__main__":
    main()
