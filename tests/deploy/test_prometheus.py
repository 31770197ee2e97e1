"""The rules that watch the workers: of metrics that there are, valid, and each fires for its cause and no other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.alerts import ALERTNAMES
from streams.metrics import Metrics
from streams.siem_export import ExportMetrics
from tests.deploy.files import ROOT, SERVICES
from tests.deploy.promtool import promtool

FOLDER = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]]
CONFIG: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
ALERTS = [rule for rule in RULES if "alert" in rule]
WORKER = '{instance="w1", job="inferwatch-worker"}'

QUIET = {
    "up": "1x120",
    "inferwatch_ready": "1x120",
    "inferwatch_start_time_seconds": "1700000000x120",
    'inferwatch_lag_records{topic="inferwatch.events"}': "3x120",
    'inferwatch_records_total{topic="inferwatch.events"}': "0+60x120",
    'inferwatch_events_total{owner="shard"}': "0+6000x120",
    'inferwatch_events_rejected_total{owner="shard", reason="truncated"}': "0+10x120",
    'inferwatch_owned_partitions{owner="shard"}': "12x120",
    'inferwatch_owned_partitions{owner="judge"}': "12x120",
    'inferwatch_stopped_partitions{owner="shard"}': "0x120",
    "inferwatch_snapshot_age_seconds": "2x120",
    'inferwatch_records_lost_total{topic="inferwatch.events"}': "0x120",
    'inferwatch_messages_undeliverable_total{to="rows"}': "0x120",
    'inferwatch_internal_errors_total{where="record"}': "0x120",
    "inferwatch_sink_refused_rows": "0x120",
    'inferwatch_messages_retried_total{to="rows"}': "0+1x120",
    'inferwatch_messages_delivered_total{to="rows"}': "0+100x120",
    'inferwatch_alertmanager_posts_total{outcome="ok"}': "0+2x120",
    'inferwatch_alertmanager_posts_total{outcome="failed"}': "0+1x120",
    'inferwatch_clock_ahead_seconds{target="a1"}': "1x50 -40x3 29x65",
    "inferwatch_clock_set_back_total": "0x10 1x110",
    "inferwatch_siem_failing": "0 1 1 0x117",
}
"""Two hours of a worker that is well, a value a minute: with a few refused events, retries and failed posts, as there
always are, and a clock that was set right long ago."""

CAUSES: dict[str, tuple[str, dict[str, str]]] = {
    "InferwatchWorkerDown": ("page", {"up": "1x60 0x60"}),
    "InferwatchWorkerNotReady": ("ticket", {"inferwatch_ready": "1x60 0x60"}),
    "InferwatchWorkerRestarts": ("ticket", {"inferwatch_start_time_seconds": "1x80 2x10 3x10 4x10 5x10"}),
    "InferwatchClock": ("ticket", {'inferwatch_clock_ahead_seconds{target="a1"}': "1x60 -31x60"}),
    "InferwatchLag": ("ticket", {'inferwatch_lag_records{topic="inferwatch.events"}': "300x120"}),
    "InferwatchPartitionsUnwatched": ("page", {'inferwatch_stopped_partitions{owner="shard"}': "0x60 1x60"}),
    "InferwatchNoEvents": (
        "ticket",
        {
            'inferwatch_events_total{owner="shard"}': "0+6000x90 540000x30",
            'inferwatch_events_rejected_total{owner="shard", reason="truncated"}': "0+10x90 900x30",
        },
    ),
    "InferwatchEventsRefused": ("ticket", {'inferwatch_events_rejected_total{owner="shard", reason="truncated"}': "0+200x120"}),
    "InferwatchLoss": ("ticket", {'inferwatch_records_lost_total{topic="inferwatch.events"}': "0x110 7x10"}),
    "InferwatchSnapshotsOld": ("ticket", {"inferwatch_snapshot_age_seconds": "2x60 130+60x60"}),
    "InferwatchStoreFailing": ("ticket", {'inferwatch_messages_delivered_total{to="rows"}': "0+100x60 6000x60"}),
    "InferwatchPagerFailing": ("page", {'inferwatch_alertmanager_posts_total{outcome="ok"}': "0+2x60 120x60"}),
    "InferwatchSiemFailing": ("ticket", {"inferwatch_siem_failing": "0x60 1x60"}),
    "InferwatchNeighbourDown": ("ticket", {'up{instance="o1", job="inferwatch-ocsf"}': "1x60 0x60"}),
}
"""By alert: its severity, and what is otherwise than in `QUIET`."""

OTHERS: dict[str, tuple[str, dict[str, str]]] = {
    "the workers are gone altogether": ("InferwatchWorkerDown page", dict.fromkeys(QUIET, "1x90")),
    "a worker left and nobody took over": (
        "InferwatchPartitionsUnwatched page",
        {'inferwatch_owned_partitions{owner="judge"}': "12x90 8x30"},
    ),
    "far behind": ("InferwatchLag page, InferwatchLag ticket", {'inferwatch_lag_records{topic="inferwatch.events"}': "3000x120"}),
    "nothing was ever read": (
        "InferwatchLag page, InferwatchLag ticket",
        {'inferwatch_lag_records{topic="inferwatch.events"}': "300x120", 'inferwatch_records_total{topic="inferwatch.events"}': "_x120"},
    ),
    "a clock that was set back": ("InferwatchClock ticket", {"inferwatch_clock_set_back_total": "0x100 1x20"}),
    "a clock that is ahead": ("InferwatchClock ticket", {'inferwatch_clock_ahead_seconds{target="a1"}': "0x60 45x60"}),
    "messages given up": ("InferwatchLoss ticket", {'inferwatch_messages_undeliverable_total{to="rows"}': "0x115 1x5"}),
    "our own errors": ("InferwatchLoss ticket", {'inferwatch_internal_errors_total{where="record"}': "0x115 1x5"}),
    "rows that the store refuses": ("InferwatchLoss ticket", {"inferwatch_sink_refused_rows": "0x115 4x5"}),
    "an installation that was just started": ("", {name: f"_x115 {re.split('[+ x]', value)[0]}x5" for name, value in QUIET.items()}),
    "KServe's receiver is gone, and its name with it": (
        "InferwatchNeighbourDown ticket",
        {'up{instance="k1", job="inferwatch-kserve"}': "1x90"},
    ),
    "a neighbour that was never there, and one that is well": ("", {'up{instance="o1", job="inferwatch-ocsf"}': "1x120"}),
    "one failed post in the night": ("", {'inferwatch_alertmanager_posts_total{outcome="failed"}': "0x100 1x20"}),
}


def series(values: dict[str, str]) -> list[dict[str, str]]:
    """As promtool takes them, every one with the worker's labels."""
    named = {
        name if "{" not in name or "job=" in name else name.replace("{", '{instance="w1", job="inferwatch-worker", '): text
        for name, text in values.items()
    }
    return [{"series": name if "{" in name else name + WORKER, "values": text} for name, text in named.items()]


def fires(tmp_path: Path, changed: dict[str, str], expected: str, *, at: str = "119m") -> None:
    """Those alerts fire at this time, and no other."""
    samples = [
        {"labels": f'{{alertname="{name}", severity="{severity}"}}', "value": 1}
        for name, severity in (one.split() for one in expected.split(", ") if one)
    ]
    test = {
        "rule_files": [str(FOLDER / "rules.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series(QUIET | changed),
                "promql_expr_test": [
                    {"expr": 'group by (alertname, severity) (ALERTS{alertstate="firing"})', "eval_time": at, "exp_samples": samples}
                ],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps(test))
    promtool("test", "rules", file)


def test_a_worker_that_is_well_alerts_nobody(tmp_path: Path) -> None:
    fires(tmp_path, {}, "")


@pytest.mark.parametrize("name", CAUSES)
def test_an_alert_fires_for_its_cause_and_no_other_with_it(tmp_path: Path, name: str) -> None:
    severity, changed = CAUSES[name]
    fires(tmp_path, changed, f"{name} {severity}")


@pytest.mark.parametrize("case", OTHERS)
def test_other_ways_of_going_wrong(tmp_path: Path, case: str) -> None:
    expected, changed = OTHERS[case]
    fires(tmp_path, changed, expected)


def test_every_alert_is_tried() -> None:
    assert {rule["alert"] for rule in ALERTS} == set(CAUSES)


def test_promtool_finds_nothing_wrong_in_rules_and_configuration() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", FOLDER / "rules.yml")
    promtool("check", "config", FOLDER / "prometheus.yml")


def test_every_metric_of_the_rules_is_one_that_is_exported_with_those_labels() -> None:
    exported: dict[str, set[str]] = {"up": {"job"}}
    for registry in (Metrics().registry, ExportMetrics().registry):
        for metric in registry.collect():
            labels = set(getattr(registry._names_to_collectors[metric.name], "_labelnames", ()))
            exported[metric.name + ("_total" if metric.type == "counter" else "")] = labels
    exported |= {rule["record"]: {"topic", "owner"} for rule in RULES if "record" in rule}
    for rule in RULES:
        said = re.findall(r"\b(inferwatch[a-z_:]\w*(?::\w+)*|up)\b(?:\{([^}]*)\})?", re.sub(r'"[^"]*"', '""', rule["expr"]))
        assert said
        for name, matchers in said:
            assert name in exported, f"{name}: no such metric"
            assert set(re.findall(r"(\w+)\s*[!=]", matchers)) <= exported[name], f"{name}{{{matchers}}}"


def test_alerts_are_routed_as_those_of_models_are_and_named_otherwise() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["alert"] not in ALERTNAMES.values()
        assert rule["annotations"]["runbook"] == f"docs/runbooks/{rule['alert']}.md"
        assert (ROOT / rule["annotations"]["runbook"]).is_file()
        assert len(rule["annotations"]["summary"]) < 200


def test_compose_leads_prometheus_to_the_workers_and_to_alertmanager() -> None:
    assert CONFIG["rule_files"] == ["rules.yml"]
    (alertmanager,) = CONFIG["alerting"]["alertmanagers"]
    assert alertmanager["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    jobs = {job["job_name"]: job["dns_sd_configs"] for job in CONFIG["scrape_configs"]}
    assert list(jobs) == ["inferwatch-worker", "inferwatch-ocsf", "inferwatch-kserve"]  # as the rules ask for them
    ports = {}
    for job, (found,) in jobs.items():
        (ports[found["names"][0]],) = [found["port"]]
        assert found["names"] == [job.removeprefix("inferwatch-")]
        assert found["type"] == "A", "a profile that is not up is no target, and no alert"
    assert str(ports["worker"]) == SERVICES["worker"]["environment"]["INFERWATCH_METRICS_PORT"]
    for service in ("ocsf", "kserve"):
        assert str(ports[service]) in SERVICES[service]["command"]
    assert "./deploy/prometheus:/etc/prometheus:ro" in SERVICES["prometheus"]["volumes"]
