"""Clients that a reference is better built without: those that alerts of the time name, and those that a verdict stands against."""

from __future__ import annotations

from streams.clickhouse import ClickHouse
from streams.settings import Kafka
from streams.verdict_topic import read_verdicts

_NAMED = """
SELECT DISTINCT name FROM (
    SELECT arrayJoin(names) AS name FROM (
        SELECT alert_id, opened_at, arrayConcat(groupUniqArray(client), groupUniqArrayArray(clients)) AS names,
               argMax(state, (at, revision)) AS now, max(at) AS until
        FROM alerts FINAL WHERE model = {model:String} AND state != 'pending' AND opened_at < fromUnixTimestamp64Milli({last:Int64})
        GROUP BY alert_id, opened_at
    )
    WHERE (now = 'firing' OR until >= fromUnixTimestamp64Milli({first:Int64}))
      AND (alert_id, opened_at) NOT IN (SELECT alert_id, opened_at FROM acknowledgements FINAL WHERE verdict != 'true')
) WHERE name != ''
"""


def named_by_alerts(clickhouse: ClickHouse, model: str, first_ns: int, last_ns: int) -> set[str]:
    """Clients in alerts, pages and tickets, that fired at some time between the two, but for those judged false or harmless.

    Raises:
        ClickHouseError: the store refused, or could not be reached.
    """
    rows = clickhouse.query(_NAMED, {"model": model, "first": first_ns // 1_000_000, "last": last_ns // 1_000_000})
    return {row["name"] for row in rows}


def under_verdict(kafka: Kafka, model: str, now_ns: int) -> set[str]:
    """Clients that gateways are asked to do something about.

    Raises:
        KafkaException: the brokers do not answer, or the topic is not there.
    """
    return {one.client for one in read_verdicts(kafka)[0] if one.model == model and one.client and one.holds(now_ns)}
