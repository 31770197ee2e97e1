"""How long each table keeps its rows: settings, as the migrations and ``ALTER TABLE ... MODIFY TTL`` take them."""

import msgspec

__all__ = ["Retention"]


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ages at which ClickHouse drops rows.

    Attributes:
        windows_months: Windows of models, features, clients, input quality and accuracy, 1 to 120 (default 13: a year and its month).
        alerts_months: Alert history, 1 to 120 (default 24).
        audit_months: The audit log, 1 to 120 (default 24).
        sampled_days: Sampled events, 1 to 3650 (default 30). They hold feature values: keep them short.
        producers_days: Heartbeats, and what workers say of themselves, 1 to 3650 (default 90).

    Raises:
        ValueError: A number is out of its range.

    >>> Retention(sampled_days=7).ttl["sampled_events"]
    'toDateTime(at) + toIntervalDay(7)'
    """

    windows_months: int = 13
    alerts_months: int = 24
    audit_months: int = 24
    sampled_days: int = 30
    producers_days: int = 90

    def __post_init__(self) -> None:
        for name, value in self.placeholders.items():
            most = 120 if name.endswith("months") else 3650
            if not 1 <= value <= most:
                raise ValueError(f"retention {name} = {value}: expected 1 to {most}")

    @property
    def placeholders(self) -> dict[str, int]:
        """Values of the ``${...}`` in the migrations."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @property
    def ttl(self) -> dict[str, str]:
        """TTL expression by table, spelt as ClickHouse spells it in ``system.tables``."""
        windows = f"toDateTime(start) + toIntervalMonth({self.windows_months})"
        return {
            "windows": windows,
            "feature_windows": windows,
            "client_windows": windows,
            "quality_windows": windows,
            "service_windows": windows,
            "accuracy_windows": windows,
            "accuracy_estimates": windows,
            "membership_gauge": f"toDateTime(at) + toIntervalMonth({self.windows_months})",
            "alerts": f"toDateTime(opened_at) + toIntervalMonth({self.alerts_months})",
            "acknowledgements": f"toDateTime(opened_at) + toIntervalMonth({self.alerts_months})",
            "loads": f"toDateTime(at) + toIntervalMonth({self.alerts_months})",
            "audit": f"toDateTime(at) + toIntervalMonth({self.audit_months})",
            "sampled_events": f"toDateTime(at) + toIntervalDay({self.sampled_days})",
            "workers": f"toDateTime(at) + toIntervalDay({self.producers_days})",
            "producers": f"toDateTime(at) + toIntervalDay({self.producers_days})",
        }
