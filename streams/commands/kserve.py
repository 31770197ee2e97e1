"""``inferwatch kserve``."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import click

from streams.commands.common import Failure, Mistake, settings_from, settings_option
from streams.settings import Kafka


@click.command("kserve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 in a container. There is no login.")
@click.option("--port", default=8889, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
@click.option("--topic", default="", help="Read CloudEvents from this topic too.")
@click.option("--group", default="inferwatch-kserve", show_default=True, help="Consumer group of --topic.")
@click.option("--service", default="kserve", show_default=True, help="Name of the service in the events.")
@click.option("--version", "versions", multiple=True, metavar="NAME=VERSION", help="Model version of an inference service. Repeatable.")
@click.option("--client-header", default="", help="Header that says who asks; name it in the logger's metadataHeaders.")
@click.option("--namespaced", is_flag=True, help="Call models NAMESPACE.NAME.")
@click.option(
    "--unanswered", type=click.Choice(["count", "error"]), default="count", show_default=True, help="What a request without answer is."
)
@click.option(
    "--patience", default=60.0, show_default=True, type=click.FloatRange(0.1, 3600), help="Seconds that a half waits for the other."
)
@click.option("--max-waiting", default=10_000, show_default=True, type=click.IntRange(1, 1_000_000), help="Halves that wait, at most.")
@click.option("--max-body", default=1 << 20, show_default=True, type=click.IntRange(1, 64 << 20), help="Bytes of a payload, at most.")
@settings_option
def command(
    host: str, port: int, topic: str, group: str, service: str, versions: tuple[str, ...], client_header: str, namespaced: bool,
    unanswered: str, patience: float, max_waiting: int, max_body: int, settings_file: Path | None,
) -> None:  # fmt: skip
    r"""Record what KServe serves, from its payload logger: CloudEvents in, inference events out.

    Set the logger of the InferenceService to this address, mode `all`. Requests and responses are joined by their id and go to Kafka as if
    the service used the SDK; every instance of a batch is an event. Halves must meet in one process: run one, or let requests of one pod
    reach the same one (sessionAffinity: ClientIP).

    INFERWATCH_PSEUDONYM_KEY is the key of the clients' pseudonyms, as for every service.

    Ends with SIGTERM or Ctrl-C. Exit codes: 0 ended; 1 the address or Kafka cannot be used; 2 the options make no sense.

    \b
    Examples:
      inferwatch kserve --host 0.0.0.0 --version fraud=7 --client-header X-Api-Key
      inferwatch kserve --topic knative.inference --namespaced
    """  # fmt: skip
    from confluent_kafka import KafkaException

    from inferwatch import Client
    from streams import log as logs

    settings = settings_from(settings_file)
    named = dict(_version(entry) for entry in versions)
    logs.configure(settings)
    kafka = settings.kafka
    try:
        client = Client(kafka.bootstrap_servers, service, topic_prefix=kafka.topic_prefix, kafka_options=_options(kafka))
    except ValueError as error:
        raise Mistake(str(error)) from error

    async def receive() -> None:
        from aiohttp import web

        from streams.kserve import Joiner, KserveMetrics, Naming
        from streams.kserve_receiver import Receiver, follow_topic

        metrics = KserveMetrics()
        naming = Naming(named, namespaced, client_header)
        joiner = Joiner(client, naming, metrics, unanswered_is_error=unanswered == "error", patience_s=patience, max_waiting=max_waiting)
        runner = web.AppRunner(Receiver(joiner, metrics, max_body).app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            click.echo(f"KServe's payload logger: http://{host}:{runner.addresses[0][1]}/")
            over = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, over.set)
            tasks = [asyncio.create_task(_settle(joiner, over))]
            if topic:
                tasks.append(asyncio.create_task(follow_topic(kafka, topic, group, joiner, metrics, max_body, over)))
            ended = asyncio.create_task(over.wait())
            await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
            over.set()
            await asyncio.gather(*tasks)
        finally:
            await runner.cleanup()
            if joiner.waiting:
                click.echo(f"{joiner.waiting} requests or responses were still waiting for the other, and are lost.", err=True)

    try:
        asyncio.run(receive())
    except KafkaException as error:
        raise Failure(f"Kafka at {kafka.bootstrap_servers}, topic {topic}: {error.args[0].str()}") from error
    except OSError as error:
        raise Failure(f"{host}:{port} cannot be listened on ({error.strerror or error}); give another with --port") from error
    finally:
        client.close()


async def _settle(joiner: Any, over: asyncio.Event) -> None:
    while not over.is_set():
        joiner.settle(time.monotonic())
        try:
            await asyncio.wait_for(over.wait(), 0.5)
        except TimeoutError:
            continue


def _version(entry: str) -> tuple[str, str]:
    name, equals, version = entry.partition("=")
    if not (name and equals and version):
        raise Mistake(f"--version {entry}: expected NAME=VERSION")
    return name, version


def _options(kafka: Kafka) -> dict[str, Any]:
    """Security, as the SDK takes it."""
    from streams.kafka import client_config

    return {name: value for name, value in client_config(kafka).items() if name.startswith(("security", "ssl", "sasl"))}
