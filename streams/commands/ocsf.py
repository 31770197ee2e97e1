"""``inferwatch ocsf``."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import get_args

import click

from schemas.alerts import Detector
from streams.commands.common import Failure, Mistake, settings_from, settings_option

_KEY = "INFERWATCH_OCSF_AUTHORIZATION"


@click.command("ocsf")
@click.option("--to", "target", required=True, help="https://... (one POST a finding), kafka:TOPIC, or a file that gets JSON lines.")
@click.option("--detector", "detectors", multiple=True, type=click.Choice(get_args(Detector)), help="Only alerts of it. Repeatable.")
@click.option("--group", default="inferwatch-ocsf", show_default=True, help="Consumer group: what it has read is not read again.")
@click.option("--metrics-port", default=0, type=click.IntRange(0, 65535), help="Serve /metrics there.  [default: not]")
@settings_option
def command(target: str, detectors: tuple[str, ...], group: str, metrics_port: int, settings_file: Path | None) -> None:
    r"""Hand every alert to the SIEM, as an OCSF Detection Finding (class 2004).

    It follows the topic of alerts beside the workers, begins with the oldest alert that the topic still has, and after a restart goes on
    where it was. A finding is sent until it is taken, at least once and always under the same uid; one that the endpoint refuses for
    itself (HTTP 400, 413, 422, ...) is counted and logged. Nothing here can hold up alerting.

    INFERWATCH_OCSF_AUTHORIZATION, or the file that INFERWATCH_OCSF_AUTHORIZATION_FILE names, holds the value of the Authorization header
    ("Bearer ...").

    Ends with SIGTERM or Ctrl-C. Exit codes: 0 ended; 1 Kafka cannot be read; 2 the options make no sense.

    \b
    Examples:
      inferwatch ocsf --to findings.jsonl
      inferwatch ocsf --to https://siem.example/ocsf --detector extraction --detector evasion --detector membership
      inferwatch ocsf --to kafka:security.findings
    """
    from confluent_kafka import KafkaException

    from streams import log as logs
    from streams.kafka import told_by
    from streams.siem import destination_of

    settings = settings_from(settings_file)
    authorization = _secret()
    logs.configure(settings)

    async def export() -> None:
        from prometheus_client import start_http_server

        from streams.siem_export import Exporter, ExportMetrics

        metrics = ExportMetrics()
        destination = destination_of(target, settings.kafka, authorization)
        if metrics_port:
            start_http_server(metrics_port, registry=metrics.registry)
        over = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, over.set)
        exporter = Exporter(settings, destination, group=group, only=detectors, metrics=metrics, now=time.time)
        click.echo(f"Alerts of {settings.kafka.topic_prefix}.alerts go to {destination.name} as OCSF findings.")
        await exporter.run(over)

    try:
        asyncio.run(export())
    except ValueError as error:
        raise Mistake(f"--to {error}") from error
    except KafkaException as error:
        raise Failure(f"{told_by(settings.kafka, error)}. Workers make the topic; the user needs the right to read it.") from error
    except OSError as error:
        raise Failure(f"port {metrics_port} cannot be listened on: {error.strerror or error}") from error


def _secret() -> str:
    path = os.environ.get(f"{_KEY}_FILE", "")
    if not path:
        return os.environ.get(_KEY, "").strip()
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"{_KEY}_FILE: {path}: {error.strerror if isinstance(error, OSError) else 'not UTF-8 text'}") from error
