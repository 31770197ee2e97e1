"""The labels of all models of a judge: a desk a model, where they meet the answers of its versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from inferwatch import Label
from streams.duplicates import keys_of_id
from streams.labels import LabelDesk
from streams.model_judge import ModelJudge
from streams.outcome_store import OutcomeStore
from streams.settings import Settings


class LabelDesks:
    """Desks by model, opened by its first label.

    Args:
        settings: of the worker.
        models: the judge's, by model and version; read whenever labels are joined.
    """

    def __init__(self, settings: Settings, models: Mapping[tuple[str, str], ModelJudge]) -> None:
        self._settings, self._models = settings, models
        self._desks: dict[str, LabelDesk] = {}
        self._fates: Counter[str] = Counter()

    def take(self, label: Label, received_ns: int, now_ns: int) -> None:
        """Takes the truth about an event."""
        desk = self._desks.get(label.model)
        if desk is None:
            if len(self._desks) >= self._settings.limits.models and not self._clear_one():
                self._fates["too_many_models"] += 1
                return
            desk = self._desks[label.model] = LabelDesk(self._settings.labels)
        desk.take(label, received_ns)
        self.join_if_due(label.model, now_ns)

    def join_if_due(self, model: str, now_ns: int) -> None:
        """Between ticks, which do not come while a backlog is read."""
        stores = self._stores(model)
        desk = self._desks.get(model)
        if desk is not None and desk.is_due(stores):
            self._join(model, desk, stores, now_ns)

    def tick(self, now_ns: int) -> None:
        """Joins what has come; gives up what has waited too long."""
        for model, desk in self._desks.items():
            self._join(model, desk, self._stores(model), now_ns)
            desk.tick(now_ns)

    def forget(self, model: str, event_id: str) -> None:
        """Forgets the labels of an event."""
        if (desk := self._desks.get(model)) is not None:
            desk.forget(keys_of_id(event_id))

    def fates(self) -> Counter[str]:
        """What became of all labels, by `streams.labels.Fate`."""
        return sum((desk.fates for desk in self._desks.values()), Counter(self._fates))

    def dump(self) -> dict[str, Any]:
        """For `load`; part of the judge's snapshot."""
        return {"desks": [[name, desk.dump()] for name, desk in self._desks.items()], "fates": dict(self._fates)}

    def load(self, body: Mapping[str, Any]) -> None:
        """Goes on from a `dump`, or from the snapshot of a time without labels."""
        self._fates = Counter(body.get("fates", {}))
        for name, state in body.get("desks", []):
            self._desks[name] = LabelDesk(self._settings.labels)
            self._desks[name].load(state)

    def _join(self, model: str, desk: LabelDesk, stores: Mapping[str, OutcomeStore], now_ns: int) -> None:
        for version, joined in desk.join(stores):
            self._models[model, version].accuracy.labelled(joined, now_ns)

    def _stores(self, model: str) -> dict[str, OutcomeStore]:
        return {version: one.accuracy.store for (name, version), one in self._models.items() if name == model}

    def _clear_one(self) -> bool:
        """Makes room: labels of a model of which nothing else is known are given up, as of unknown events."""
        names = {name for name, _ in self._models}
        for model, desk in self._desks.items():
            if model not in names:
                self._fates.update(desk.fates + Counter(unknown=desk.waiting))
                del self._desks[model]
                return True
        return False
