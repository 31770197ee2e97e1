"""The command line: ``inferwatch COMMAND``. Commands live in `streams.commands`, one a module, loaded when called.

Exit codes: 0 done; 1 it was tried and failed; 2 what was given makes no sense. Messages about failure go to standard error.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

_COMMANDS = {
    "demo": ("streams.commands.demo", "See it work: real Kafka, a real model, ordinary clients, then an attack and a drift."),
    "worker": ("streams.commands.worker", "Run a worker: judge the events on Kafka until it is told to stop."),
    "replay": ("streams.commands.replay", "Judge a recording offline, with the worker's own code."),
    "gameday": ("streams.commands.gameday", "Attack your own model offline, and see which attacks are found."),
    "drill": ("streams.commands.drill", "The fire drill: make each failure mode happen, and see which alerts fire."),
    "reference": ("streams.commands.reference", "Build, publish and look at references."),
    "canary": ("streams.commands.canary", "Name rows that only a thief of the training data can ask about."),
    "migrate": ("streams.commands.migrate", "Create or update the ClickHouse tables."),
    "alert": ("streams.commands.alert", "Try the pager, see what fires, say how an alert turned out."),
    "delete": ("streams.commands.delete", "Erase a client or an event, from the tables and from what workers know."),
    "verdict": ("streams.commands.verdict", "See and decide what gateways are asked to do about clients."),
    "incident": ("streams.commands.incident", "Put all that is known of an alert into one archive."),
    "audit": ("streams.commands.audit", "Check the audit log, and read it."),
    "report": ("streams.commands.report", "Write a month's report: one printable page, with the evidence behind each figure."),
    "gate": ("streams.commands.gate", "Say whether a model version may be promoted now."),
    "check": ("streams.commands.check", "Check the settings, and whether everything they name can be reached."),
    "kserve": ("streams.commands.kserve", "Record what KServe serves, from its payload logger."),
    "ocsf": ("streams.commands.ocsf", "Hand alerts to the SIEM, as OCSF Detection Findings."),
    "dashboards": ("streams.commands.dashboards", "Put the dashboards into Grafana."),
    "ui": ("streams.commands.ui", "Show the dashboards as a page on this machine, without Grafana."),
}


class _Lazy(click.Group):
    """Imports a command's module when it is called, so that ``--help`` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="inferwatch-server", prog_name="inferwatch")
def main(**_: Any) -> None:
    """Watches machine-learning models in production, within a number of false pages that you set.

    Services send inference events with the SDK; workers judge them in the stream for drift, extraction, evasion and membership risk;
    alerts reach the pager through Alertmanager, rows go to ClickHouse for Grafana. Begin with `inferwatch demo`.
    """
    from streams import log

    log.quiet()  # a command that serves asks for more


if __name__ == "__main__":
    main()
