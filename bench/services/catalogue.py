"""The services by name: data, victim, rounding; and how one is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.services import drawn, held_out, tables
from bench.services.recording import record
from bench.services.tables import AbsentError, Table
from bench.services.world import build


def _victim(kind: str, seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "gb": lambda: GradientBoostingClassifier(n_estimators=60, random_state=seed),
        "gb_overfit": lambda: GradientBoostingClassifier(n_estimators=120, max_depth=6, random_state=seed),
        "rf": lambda: RandomForestClassifier(30, min_samples_leaf=5, random_state=seed),
        "rf_overfit": lambda: RandomForestClassifier(30, random_state=seed),
        "lr": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
        "knn": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(15)),
        "knn_overfit": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(3)),
        "mlp": lambda: make_pipeline(
            StandardScaler(), MLPClassifier((48,), alpha=0.1, max_iter=60, early_stopping=True, random_state=seed)
        ),
        "mlp_overfit": lambda: make_pipeline(StandardScaler(), MLPClassifier((64,), max_iter=100, random_state=seed)),
    }[kind]()


SERVICES: dict[str, tuple[Callable[[], Table], str, int]] = {
    "wages_gb": (tables.wages, "gb", 6),
    "visits_rf": (tables.visits, "rf_overfit", 6),
    "answers_lr": (tables.answers, "lr", 4),
    "ability_knn": (tables.ability, "knn", 6),
    "films_gb": (tables.films, "gb_overfit", 3),
    "food_mlp": (tables.food, "mlp", 6),
    "computers_knn": (tables.computers, "knn_overfit", 6),
    "loans_lr": (tables.loans, "lr", 6),
    "trades_rf": (tables.trades, "rf", 6),
    "flights_rf": (tables.flights, "rf_overfit", 2),
    "shuttle_mlp": (tables.shuttle, "mlp", 6),
    "phishing_gb": (tables.phishing, "gb", 6),
    "patches_mlp": (tables.patches, "mlp_overfit", 4),
    "titles_lr": (tables.titles, "lr", 6),
    "sentences_mlp": (tables.sentences, "mlp_overfit", 6),
    "amounts_gb": (drawn.amounts, "gb", 6),
    "options_rf": (drawn.options, "rf", 3),
    "words_lr": (drawn.words, "lr", 4),
    "shares_lr": (drawn.shares, "lr", 4),
    "lags_gb": (drawn.lags, "gb", 6),
    "hours_rf": (drawn.hours, "rf", 3),
    "sphere_mlp": (drawn.sphere, "mlp", 6),
    "tiny_mlp": (drawn.tiny, "mlp", 6),
    "kinds_knn": (drawn.kinds, "knn", 6),
    "houses_gb": (tables.houses, "gb", 6),
    "seasons_rf": (tables.seasons, "rf", 6),
}
"""By name: the data, the victim, and to how many decimals the service rounds its answers."""
HELD_OUT: dict[str, tuple[Callable[[], Table], str, int]] = {
    "earnings_gb": (held_out.earnings, "gb", 6),
    "expenses_mlp": (held_out.expenses, "mlp", 6),
    "benefits_lr": (held_out.benefits, "lr", 6),
    "budgets_rf": (held_out.budgets, "rf", 6),
    "insurance_gb": (held_out.insurance, "gb", 4),
    "contacts_rf": (held_out.contacts, "rf_overfit", 6),
    "hours_knn": (held_out.hours, "knn", 6),
    "quakes_gb": (held_out.quakes, "gb", 6),
    "districts_mlp": (held_out.districts, "mlp", 6),
    "scores_knn": (held_out.scores, "knn", 6),
    "moods_lr": (held_out.moods, "lr", 6),
    "weather_mlp": (held_out.weather, "mlp", 6),
    "schools_lr": (held_out.schools, "lr", 6),
    "parks_gb": (held_out.parks, "gb", 6),
    "pupils_mlp": (held_out.pupils, "mlp", 6),
    "smokers_knn": (held_out.smokers, "knn_overfit", 6),
    "counties_lr": (held_out.counties, "lr", 6),
    "crimes_gb": (held_out.crimes, "gb", 6),
    "heating_mlp": (held_out.heating, "mlp", 6),
    "spells_knn": (held_out.spells, "knn", 6),
    "trains_lr": (held_out.trains, "lr", 6),
    "cars_rf": (held_out.cars, "rf", 6),
}
"""The same of tables on which no constant was chosen."""


def one(name: str, out: Path, seed: int, queries: int) -> str:
    """Records a service; says what it did, or why it could not."""
    began = time.perf_counter()
    source, victim, decimals = (SERVICES | HELD_OUT)[name]
    try:
        world = build(name, source(), _victim(victim, seed), decimals, seed)
    except AbsentError as error:
        return f"{name}: left out, {error}"
    counts = record(world, out / name, seed, queries=queries)
    train, test = world.accuracy
    return f"{name}: {sum(counts.values())} events, accuracy {train:.2f} / {test:.2f}, {time.perf_counter() - began:.0f} s"
