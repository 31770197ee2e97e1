"""The local page shows the six views from the real engine, to this machine only, and takes no stranger's name for markup or SQL."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from dashboards.build import VIEWS, views
from dashboards.scope import Objectives
from schemas.rows import AlertRow, ClientWindowRow
from streams import ui
from streams.clickhouse import ClickHouse
from streams.migrate import migrate
from streams.ui import NoDataError, Ui, extent_of
from tests.dashboards.rows import END, HOSTILE, insert, rows
from tests.ui.browser import run

SCRIPT = "<img src=x onerror=document.title='hacked'>"
"""A client that would like to be markup."""

pytestmark = pytest.mark.clickhouse


@pytest.fixture(scope="module")
def filled(chdb_directory: Path) -> Any:
    with ClickHouse(f"chdb://{chdb_directory}?database=ui") as clickhouse:
        migrate(clickhouse)
        given = rows(("fraud", HOSTILE))
        named = [msgspec.structs.replace(row, client=SCRIPT) for row in given if isinstance(row, ClientWindowRow) and row.client == HOSTILE]
        alert = next(row for row in given if isinstance(row, AlertRow))
        link = msgspec.structs.replace(alert, alert_id="bad", client=SCRIPT, runbook="javascript:alert(1)", summary=SCRIPT, at=alert.at + 1)
        insert(clickhouse, [*given, *named, link])
        yield clickhouse


@pytest.fixture
async def client(filled: ClickHouse) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(Ui(filled, Objectives(), clock=lambda: END).app())) as found:
        yield found


async def text_of(client: TestClient[Any, Any], path: str, status: int = 200, **headers: str) -> str:
    answer = await client.get(path, headers=headers)
    text = await answer.text()
    assert answer.status == status, text[:2_000]
    return text


@pytest.mark.parametrize("name", VIEWS)
async def test_every_panel_of_every_view_is_there_and_shows_something(client: TestClient[Any, Any], name: str) -> None:
    text = await text_of(client, f"/view/{name}")
    panels = [panel for panel in views()[name].panels if panel.kind != "row"]
    for panel in panels:
        assert f"<h3>{panel.title}</h3>" in text
    assert "class=error" not in text
    assert 'class="error"' not in text
    assert "Nothing in this time range" not in text
    assert text.count("data-figure=") == sum(panel.kind in ("timeseries", "bars", "history") for panel in panels)
    assert text.endswith("</html>")


async def test_the_first_page_is_leaderships(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (302, "/view/executive")


async def test_a_choice_narrows_what_is_shown(client: TestClient[Any, Any]) -> None:
    assert "Nothing in this time range" in await text_of(client, "/view/oncall?model=nobody")
    one = await text_of(client, "/view/forensics?client=c0ffee&model=fraud&span=1h")
    assert re.search(r"<b>9,000</b><span>requests", one)  # 30 windows of 300
    assert 'value="c0ffee" selected' in one


async def test_links_between_views_carry_the_choice(client: TestClient[Any, Any]) -> None:
    text = await text_of(client, "/view/oncall?model=fraud&span=1h")
    assert '<a href="/view/debug?span=1h&amp;model=fraud">' in text
    assert 'href="/view/forensics?span=1h&amp;model=fraud&amp;client=c0ffee"' in text
    opened = round((END - timedelta(minutes=20)).timestamp() * 1000)
    assert f'href="/view/oncall?from={opened}&amp;model=fraud' in text


@pytest.mark.parametrize("name", VIEWS)
async def test_a_strangers_name_is_neither_markup_nor_a_link(client: TestClient[Any, Any], name: str) -> None:
    text = await text_of(client, f"/view/{name}?client={SCRIPT}&client={HOSTILE}&model={HOSTILE}&model=fraud".replace("\\", "%5C"))
    assert "<img" not in text
    assert "javascript:" not in re.sub(r">[^<]*<", "><", text)
    assert 'class="error"' not in text


@pytest.mark.parametrize(
    "value", [r"\' OR 1=1 -- ", "') UNION ALL SELECT 1 --", "${model:raw}", "$__fromTime", "{v0:String}", "a\tb\nc\0d", "%s %(x)s", "\\"]
)
async def test_a_value_never_becomes_sql(client: TestClient[Any, Any], value: str) -> None:
    answer = await client.get("/view/oncall", params={"model": value, "client": value})
    text = await answer.text()
    assert answer.status == 200
    assert 'class="error"' not in text
    assert "fraud" not in re.sub(r"(?s)<form.*</form>", "", text)  # nothing of the other models is shown


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/view/oncall?span=soon", 400, "no length like 30m, 6h or 7d"),
        ("/view/oncall?budget=1)--", 400, "no number from 0.001 to 1000"),
        ("/view/none", 404, "/view/oncall"),
        ("/static/../ui.py", 404, "/view/oncall"),
        ("/static/page.py", 404, "/view/oncall"),
        ("/nothing", 404, "/view/oncall"),
    ],
)
async def test_a_wrong_address_is_told(client: TestClient[Any, Any], path: str, status: int, told: str) -> None:
    assert told in await text_of(client, path, status)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]:80", ""])
async def test_a_foreign_page_cannot_read_through_a_name_of_its_own(client: TestClient[Any, Any], host: str) -> None:
    assert "--allow-host" in await text_of(client, "/view/oncall", 421, Host=host)


@pytest.mark.parametrize("host", ["localhost", "localhost:8990", "127.0.0.1:1", "[::1]:8990", "[::1]", "LOCALHOST"])
async def test_this_machine_is_served_under_its_names(client: TestClient[Any, Any], host: str) -> None:
    await text_of(client, "/static/page.js", Host=host)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_written(client: TestClient[Any, Any], method: str) -> None:
    answer = await client.request(method, "/view/oncall", data=b"x")
    assert answer.status == 405


async def test_browsers_are_told_to_run_only_our_scripts(client: TestClient[Any, Any]) -> None:
    for path in ("/view/oncall", "/static/page.css", "/static/plotly.js", "/none"):
        answer = await client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
    text = await text_of(client, "/view/oncall")
    assert not re.findall(r"""(?:src=|<link[^>]*href=)["']?(?:https?:)?//""", text), "something comes from elsewhere"


async def test_a_panel_that_fails_says_so_and_the_others_are_shown(client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "_LIMITS", "\nSETTINGS max_result_rows = 20, result_overflow_mode = 'throw'")
    text = await text_of(client, "/view/oncall")
    assert "It has more than" in text
    assert "choose one model or a shorter range" in text
    assert "<h3>Open now</h3>" in text
    assert text.endswith("</html>")


async def test_too_many_at_once_are_told_to_come_back(filled: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "_WAITING", 0)
    async with TestClient(TestServer(Ui(filled, Objectives()).app())) as client:
        assert "Try again in a moment" in await text_of(client, "/view/oncall", 503)


async def test_a_store_without_tables_or_windows_says_where_rows_come_from(clickhouse: ClickHouse) -> None:
    with pytest.raises(NoDataError, match=r"has no tables of inferwatch.*INFERWATCH_CLICKHOUSE_DSN"):
        await extent_of(clickhouse)
    migrate(clickhouse)
    with pytest.raises(NoDataError, match="holds no window yet"):
        await extent_of(clickhouse)
    async with TestClient(TestServer(Ui(clickhouse, Objectives()).app())) as client:
        assert "holds no window yet" in await text_of(client, "/view/oncall", 404)


@pytest.mark.parametrize("name", VIEWS)
async def test_a_browser_draws_every_plot_without_complaint(client: TestClient[Any, Any], name: str, tmp_path: Path) -> None:
    url = str(client.make_url(f"/view/{name}"))
    text, said = await run(url, tmp_path, "--dump-dom")
    assert said == []
    plots = sum(panel.kind in ("timeseries", "bars", "history") for panel in views()[name].panels)
    assert f'data-drawn="{plots}"' in text
    assert text.count("main-svg") >= plots
    assert "<title>hacked" not in text
