"""How long the views' panels take on 30 days of a busy model, on the real engine, with rows that the store makes up.

`python -m bench.views` prints a line a panel. CPU is what all threads of the engine used: on a machine with a free core a panel takes no
longer. The clock beside it says what else ran.

One model version, 10 million events a day in windows of five minutes, 100 features and three outputs, 12 partitions that each name their
200 clients of a window and keep 32 events of it, ten instances: 8,640 windows, 890,000 rows of features, 20.7 million of clients, 3.3
million sampled events.
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
from streams.clickhouse import ClickHouse
from streams.migrate import migrate

WINDOW_S, DAYS = 300, 30
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
            judged_at)
            SELECT 0, 'busy', '1', {start(1)} AS at, at + {WINDOW_S}, 'r', 34722, 5000, 20000, 34722, 3, map('not_finite', 2),
            map('ok', 34700, 'error', 20, 'forbidden', 2), 20, 2, arrayMap(k -> (k * 7919 + number) % 97, range(400)), 12,
            40 + number % 7, 90,
            map('a', 20000 + number % 500, 'b', 14000), -3 + number % 5, '', at + {WINDOW_S + 12} FROM numbers({per_day})"""
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
            'members_touched', cityHash64(number) % 7 = 0, 'flagged_answers', 0)
            FROM numbers({per_day * size.clients})"""
        yield f"""INSERT INTO sampled_events (revision, model, version, at, event_id, client, service, instance, trace_id, features, scores,
            prediction, latency_ms, status, reason) SELECT 0, 'busy', '1',
            {start(size.sampled)} + (number % {size.sampled}) * {WINDOW_S} / {size.sampled + 1}, concat('e-', toString({day}), '-',
            toString(number)),
            lower(hex(sipHash128(cityHash64(number) % 100000))), 'shop', concat('shop-', toString(number % {size.instances})),
            lower(hex(sipHash128(number))),
            mapFromArrays(arrayMap(k -> concat('feature-', toString(k)), range({size.features})),
                arrayMap(k -> (cityHash64(number, k) % 1000) / 10, range({size.features}))),
            [0.5 + (cityHash64(number) % 500) / 1000, 0.5 - (cityHash64(number) % 500) / 1000], if(number % 3 = 0, 'a', 'b'), 10, 'ok',
            'random'
            FROM numbers({per_day * size.sampled})"""
        yield f"""INSERT INTO producers (revision, service, instance, model, version, at, accepted, sent, dropped, received, highest_number,
            rss_bytes, cpu_seconds, completeness) SELECT 0, 'shop', concat('shop-', toString(number % {size.instances})), 'busy', '1',
            {start(size.instances)}, number, number, 0, number, number, 200000000, number / 100, 1
            FROM numbers({per_day * size.instances})"""
        yield f"""INSERT INTO quality_windows (revision, model, version, start, service, kind, n, per_10k) SELECT 0, 'busy', '1',
        {start(4)},
            'shop', ['missing', 'wrong_type', 'out_of_bounds', 'unseen_category'][number % 4 + 1], 3, 0.9 FROM numbers({per_day * 4})"""
        yield f"""INSERT INTO alerts (revision, alert_id, model, version, detector, alertname, severity, state, opened_at, at, client,
        clients,
            log_evidence, summary, techniques) SELECT 0, concat('{day}-', toString(intDiv(number, 2))), 'busy', '1',
            ['drift', 'extraction', 'evasion', 'quality'][intDiv(number, 2) % 4 + 1], 'InferwatchX', 'ticket',
            if(number % 2 = 0, 'firing', 'resolved'), toDateTime64({first} + intDiv(number, 2) * 7200, 3, 'UTC') AS opened,
            opened + number % 2,
            'c', if(intDiv(number, 2) = 1, ['a', 'b'], []), 12, 'x', ['AML.T0015'] FROM numbers(20)"""


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
    """View, title, SQL and parameters of every panel and variable over the whole time, all models and clients chosen: the most there is."""
    extent = Extent(end - timedelta(days=days), end, timedelta(seconds=WINDOW_S))
    for name, view in views().items():
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
