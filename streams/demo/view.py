"""What the demo shows: a live table in a terminal, plain lines elsewhere (a CI log)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from streams.demo.observer import Picture, Seen

_STYLE = {"page": "bold red", "ticket": "yellow"}
_LINE_S = 5.0


@dataclass
class Status:
    """What the story knows, beside what the observer sees."""

    phase: str = ""
    began: float = field(default_factory=time.monotonic)
    sent: int = 0
    passed: float = 0.0
    rate: float = 0.0
    attack: str = ""
    names: dict[str, str] = field(default_factory=dict)
    """Clients' names by pseudonym: only the demo knows them, inferwatch does not."""
    paged: int = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began


class View:
    """``with View(console) as view``: `say` prints a line, `show` brings the live part up to date.

    Args:
        console: where to.
        live: a table that is drawn anew, instead of a status line every five seconds.
    """

    def __init__(self, console: Console, live: bool) -> None:
        self.status = Status()
        self._console, self._shown = console, 0.0
        self._live = Live(console=console, refresh_per_second=4, transient=True) if live else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.still()

    def still(self) -> None:
        """Ends the live part; lines can still be said."""
        if self._live is not None:
            self._live.stop()
        self._live = None

    def say(self, text: str, style: str = "") -> None:
        """One line, with the time since the start."""
        self._console.print(f"{self.status.elapsed:6.1f} s  {escape(text)}", style=style or None, highlight=False, soft_wrap=True)

    def begin(self, phase: str) -> None:
        """A new chapter."""
        self.status.phase = phase
        self.say(phase, "bold cyan")

    def alert(self, seen: Seen) -> None:
        """An alert as it fires, rises or ends."""
        alert = seen.alert
        if alert.state == "resolved":
            self.say(f"RESOLVED {alert.alertname} {self.who(alert.client)}", "green")
            return
        self.say(f"{alert.severity.upper():6} {alert.alertname}  {self.named(alert.summary)}", _STYLE.get(alert.severity, ""))
        if alert.techniques or alert.owasp:
            self.say(f"       {', '.join((*alert.techniques, *alert.owasp))}; runbook docs/runbooks/{alert.alertname}.md", "dim")

    def who(self, pseudonym: str | None) -> str:
        """A client's pseudonym, shortened, with its name."""
        return f"{pseudonym[:8]} ({self.status.names.get(pseudonym, '?')})" if pseudonym else ""

    def named(self, text: str) -> str:
        """The text with pseudonyms as `who` gives them."""
        for pseudonym in self.status.names:
            if pseudonym in text:
                text = text.replace(pseudonym, self.who(pseudonym))
        return text

    def show(self, picture: Picture) -> None:
        """Draws the live part; without a terminal, says a status line now and then."""
        if self._live is not None:
            self._live.update(self.table(picture))
        elif time.monotonic() - self._shown >= _LINE_S:
            self._shown = time.monotonic()
            self.say(line(picture, self.status))

    def table(self, picture: Picture) -> RenderableType:
        """The live part."""
        features = Table("feature", "PSI", "W1 (sd)", "ln evidence", box=None, title="drift, last window", title_justify="left")
        for name, psi, w1, ln in top_features(picture, 5):
            features.add_row(name, f"{psi:.2f}", f"{w1:.2f}", f"{ln:+.1f}", style="bold" if ln > 5 else None)
        clients = Table("client", "requests", "ln evidence", "for", box=None, title="riskiest clients", title_justify="left")
        for pseudonym, n, ln, family in top_clients(picture, 5):
            clients.add_row(self.who(pseudonym), f"{n:,}", f"{ln:+.1f}", family, style="bold" if ln > 8 else None)
        both = Table.grid(padding=(0, 4))
        both.add_row(features, clients)
        heard = f"{len(picture.alerts)} alert changes, {self.status.paged} notifications at the pager"
        top = f"[bold]{escape(self.status.phase)}[/bold]   {escape(line(picture, self.status))}"
        return Panel(
            Group(top, "", both, "", heard), title="inferwatch demo", subtitle="ln evidence: a client pages at about 16, a ticket at 12"
        )


def line(picture: Picture, status: Status) -> str:
    """The present state in one line."""
    features, clients = top_features(picture, 1), top_clients(picture, 1)
    parts = [f"{status.rate:,.0f} events/s", f"{picture.judged:,} of {status.sent:,} judged in {picture.windows} windows"]
    if features:
        name, psi, _, ln = features[0]
        parts.append(f"{name} PSI {psi:.2f} ln e {ln:+.1f}")
    if clients:
        pseudonym, _, ln, family = clients[0]
        parts.append(f"{status.names.get(pseudonym, pseudonym[:8])} {family} ln e {ln:+.1f}")
    if status.attack:
        parts.append(status.attack)
    return " | ".join(parts)


def top_features(picture: Picture, n: int) -> list[tuple[str, float, float, float]]:
    """Name, PSI, W1, ln evidence of the features with most evidence."""
    rows = sorted(picture.features.values(), key=lambda row: row.log_evidence, reverse=True)[:n]
    return [(row.feature, row.psi or 0.0, row.w1 or 0.0, max(row.log_evidence, -99.0)) for row in rows]


def top_clients(picture: Picture, n: int) -> list[tuple[str, int, float, str]]:
    """Pseudonym, requests in its last window, ln evidence and family of the clients with most evidence."""
    found = []
    for row in picture.clients.values():
        families = {"extraction": row.ln_extraction, "evasion": row.ln_evasion, "membership": row.ln_membership}
        family, ln = max(families.items(), key=lambda item: item[1])
        found.append((row.client, row.n, ln, family))
    return sorted(found, key=lambda one: one[2], reverse=True)[:n]
