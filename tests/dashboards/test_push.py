"""A push makes Grafana what it should be, twice is as once, and errors say what to do."""

from collections.abc import Iterator
from typing import Any

import pytest

from dashboards.build import dashboards
from dashboards.grafana import DATASOURCE
from dashboards.push import PushError, Store, push
from tests.dashboards.grafana import TOKEN, Grafana, running

DASHBOARDS = dashboards()
STORE = Store(host="clickhouse", password="hunter2")


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    with running(Grafana()) as fake:
        yield fake


def test_an_empty_grafana_gets_everything(grafana: Grafana) -> None:
    pushed = push(grafana.url, TOKEN, store=STORE)
    assert (pushed.folder, pushed.datasource, pushed.health) == ("created", "created", "ok")
    assert pushed.dashboards == dict.fromkeys(DASHBOARDS, "created")
    source = grafana.datasources[DATASOURCE["uid"]]
    assert source["jsonData"]["host"] == "clickhouse"
    assert source["secrets"] == {"password": "hunter2"}
    assert "hunter2" not in str(source["jsonData"])
    for name, made in DASHBOARDS.items():
        stored = grafana.dashboards[made["uid"]]
        assert stored["dashboard"]["panels"] == made["panels"], name
        assert stored["meta"]["folderUid"] == "inferwatch"


def test_the_second_push_changes_nothing(grafana: Grafana) -> None:
    store = Store(host="clickhouse")
    push(grafana.url, TOKEN, store=store)
    grafana.writes.clear()
    pushed = push(grafana.url, TOKEN, store=store)
    assert grafana.writes == []
    assert (pushed.folder, pushed.datasource) == ("unchanged", "unchanged")
    assert set(pushed.dashboards.values()) == {"unchanged"}


def test_a_password_is_set_again_because_grafana_does_not_tell_it(grafana: Grafana) -> None:
    push(grafana.url, TOKEN, store=STORE)
    assert push(grafana.url, TOKEN, store=Store(host="clickhouse", password="new")).datasource == "unchanged"
    assert grafana.datasources[DATASOURCE["uid"]]["secrets"] == {"password": "new"}


def test_what_somebody_changed_by_hand_is_put_right(grafana: Grafana) -> None:
    push(grafana.url, TOKEN, store=STORE)
    uid = DASHBOARDS["oncall"]["uid"]
    grafana.dashboards[uid]["dashboard"]["title"] = "mine"
    grafana.datasources[DATASOURCE["uid"]]["jsonData"]["host"] = "elsewhere"
    pushed = push(grafana.url, TOKEN, store=STORE)
    assert (pushed.datasource, pushed.dashboards["oncall"]) == ("updated", "updated")
    assert grafana.dashboards[uid]["dashboard"]["title"] == DASHBOARDS["oncall"]["title"]
    assert grafana.datasources[DATASOURCE["uid"]]["jsonData"]["host"] == "clickhouse"


def test_a_dashboard_in_another_folder_is_moved(grafana: Grafana) -> None:
    push(grafana.url, TOKEN, store=STORE)
    assert push(grafana.url, TOKEN, folder="Team ML / Watch", store=STORE).dashboards["oncall"] == "updated"
    assert grafana.dashboards["inferwatch-oncall"]["meta"]["folderUid"] == "team-ml-watch"


def test_without_a_store_the_data_source_is_left_alone_but_must_be_there(grafana: Grafana) -> None:
    with pytest.raises(PushError, match="no data source inferwatch-clickhouse: give a store, or provision it"):
        push(grafana.url, TOKEN)
    push(grafana.url, TOKEN, store=STORE)
    assert push(grafana.url, TOKEN).datasource is None


def test_a_grafana_below_a_path_is_found() -> None:
    with running(Grafana(), prefix="/ops/grafana") as grafana:
        assert push(f"{grafana.url}/", TOKEN, store=STORE).folder == "created"


def test_a_data_source_that_does_not_work_is_told_and_does_not_stop_the_push(grafana: Grafana) -> None:
    grafana.health = (400, {"status": "ERROR", "message": "connection refused"})
    pushed = push(grafana.url, TOKEN, store=STORE)
    assert "connection refused" in pushed.health
    assert pushed.dashboards


@pytest.mark.parametrize(
    ("refuse", "status", "hint"),
    [
        ("POST /api/folders", 403, "the folder inferwatch: .*needs the role Editor"),
        ("POST /api/dashboards", 412, "the dashboard executive: .*push again"),
        ("POST /api/datasources", 422, "the data source: .*plugin grafana-clickhouse-datasource"),
        ("GET /api/datasources", 500, "the data source: Server Error 500: broken"),
    ],
)
def test_a_refusal_says_what_was_pushed_and_what_to_do(grafana: Grafana, refuse: str, status: int, hint: str) -> None:
    grafana.refuse[refuse] = (status, "broken")
    with pytest.raises(PushError, match=hint):
        push(grafana.url, TOKEN, store=STORE)


def test_two_pushes_at_once_may_both_make_the_folder(grafana: Grafana) -> None:
    grafana.refuse["POST /api/folders"] = (412, "the folder has been changed by someone else")
    assert push(grafana.url, TOKEN, store=STORE).folder == "unchanged"


def test_a_wrong_token_is_told_without_repeating_it(grafana: Grafana) -> None:
    with pytest.raises(PushError, match="token is wrong, expired or of another Grafana") as caught:
        push(grafana.url, "glsa_secret", store=STORE)
    assert "glsa_secret" not in str(caught.value)


def test_a_wrong_url_is_told(grafana: Grafana) -> None:
    with pytest.raises(PushError, match="check the URL"):
        push(f"{grafana.url}/nowhere", TOKEN, store=STORE)
    with pytest.raises(PushError, match=r"Grafana at http://127\.0\.0\.1:9, the data source: "):
        push("http://127.0.0.1:9", TOKEN, store=STORE, timeout=1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "grafana:3000"}, "Grafana URL: expected http"),
        ({"url": "http://admin:admin@grafana:3000"}, "no user or password in it"),
        ({"token": ""}, "Grafana token"),
        ({"token": "two words"}, "Grafana token"),
        ({"folder": "//"}, "folder '//': expected a title"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        push(**{"url": "http://grafana:3000", "token": "t"} | arguments)


def test_a_store_does_not_show_its_password() -> None:
    assert "hunter2" not in repr(STORE)
