"""Game day: one's own model attacked offline, the same card for the same seed, and a clear word where it cannot be held."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.reference import Feature
from streams.build import Rows
from streams.gameday import GamedayError
from streams.gameday.attacks import SUITE, Material
from streams.gameday.attacks import run as attack
from streams.gameday.card import Card, Found, Line, score
from streams.gameday.day import chosen
from streams.gameday.oracle import EnoughError, Oracle, Space
from streams.gameday.service import load_model, service_of
from streams.gameday.traffic import Sent, ordinary
from tests.commands.cli import run
from tests.gameday import model

D = 6
MODEL = "tests.gameday.model:answer"
SMALL = ("--clients", 20, "--hours", 12, "--ids", 1, "--queries", 300)


def data(n: int = 1_600) -> Any:
    mix = np.random.default_rng(7).normal(size=(D, D))
    return (np.random.default_rng(1).normal(size=(n, D)) @ mix).astype(np.float32)


def table(folder: Path, **changes: Any) -> Path:
    X = data()
    columns: dict[str, Any] = {f"f{j}": X[:, j] for j in range(D)}
    columns |= {"y": model.answer(X).argmax(1), "member": np.arange(len(X)) < 600}
    path = folder / "rows.parquet"
    pq.write_table(pa.table({k: v for k, v in (columns | changes).items() if v is not None}), path)
    return path


def gameday(rows: Path, *more: object, out: str = "out", named: str = MODEL) -> Any:
    return run("gameday", "--reference", rows, "--model", named, "--out", rows.parent / out, *more)


# -- the whole way ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    rows = table(tmp_path_factory.mktemp("gameday"))
    return rows, gameday(rows, *SMALL, "--attacks", "jacobian,uniform,natural,augmentation,once")


def test_attacks_on_ones_own_model_are_found_ordinary_clients_are_not_and_what_cannot_be_found_is_said(held: tuple[Path, Any]) -> None:
    rows, said = held
    assert said.exit_code == 0, said.output
    card = json.loads((rows.parent / "out" / "card.json").read_text())
    by_name = {line["attack"]: line for line in card["attacks"]}
    assert card["passed"]
    assert card["ordinary"]["paged"] == card["ordinary"]["ticketed"] == 0
    assert card["ordinary"]["clients"] == 20
    for name in ("jacobian", "uniform"):
        (one,) = by_name[name]["ids"]
        assert by_name[name]["severity"] == "page"
        assert one["paged"] < 150
        assert one["queries"] == 300
    assert by_name["augmentation"]["ids"][0]["detectors"][0] == "membership"
    assert not by_name["natural"]["can_be_found"]
    assert by_name["natural"]["severity"] == "nothing"
    assert by_name["natural"]["ids"][0]["exposure"] > 0.6
    assert "natural *" in said.output
    assert "no monitor can find it" in said.output
    assert "All that can be found was paged" in said.output


def test_the_same_seed_gives_the_same_card_and_an_attack_does_not_depend_on_the_others(held: tuple[Path, Any]) -> None:
    rows, _ = held
    first = json.loads((rows.parent / "out" / "card.json").read_text())["attacks"]
    assert gameday(rows, *SMALL, "--attacks", "uniform", out="again").exit_code == 0
    assert gameday(rows, *SMALL, "--attacks", "uniform", out="more").exit_code == 0
    again, more = ((rows.parent / out / "card.json").read_bytes() for out in ("again", "more"))
    assert again == more
    alone = json.loads(again)["attacks"][0]
    assert alone["ids"] == next(line for line in first if line["attack"] == "uniform")["ids"]


@pytest.mark.slow
def test_the_whole_suite_runs_against_a_model_of_another_library_out_of_a_file(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib", reason="needs the extra gameday")
    ensemble = pytest.importorskip("sklearn.ensemble", reason="needs the extra gameday")
    pytest.importorskip("art", reason="needs the extra gameday")
    X = data()
    forest = ensemble.RandomForestClassifier(50, random_state=0).fit(X[:600], model.answer(X[:600]).argmax(1))
    joblib.dump(forest, tmp_path / "model.joblib")
    said = gameday(table(tmp_path), *SMALL, "--trust-model", "--cover", 1, named=str(tmp_path / "model.joblib"))
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    found = {line["attack"]: line["severity"] for line in card["attacks"]}
    assert set(found) == {kind.name for kind in SUITE} - {"square"}
    assert card["skipped"] == {"square": "the rows are no pictures"}
    assert found["hopskipjump"] == found["uniform"] == "page"
    assert said.exit_code == (0 if card["passed"] else 1)
    assert all(one["queries"] <= 300 for line in card["attacks"] for one in line["ids"])


@pytest.mark.slow
def test_pictures_are_attacked_as_pictures(tmp_path: Path) -> None:
    pytest.importorskip("art", reason="needs the extra gameday")
    rng = np.random.default_rng(0)
    space = Space(np.zeros(64, np.float32), np.full(64, 16, np.float32), np.zeros(64, bool), (8, 8))
    own = rng.uniform(0, 16, (50, 64)).astype(np.float32)
    service = service_of(lambda X: np.stack([X.mean(1) / 16, 1 - X.mean(1) / 16], axis=1), own)
    for kind in SUITE:
        if kind.picture is not False:
            asked = attack(kind, Oracle(service, space, 100), Material(own, own, own.std(0)), np.random.default_rng(0))
            assert 1 <= len(asked) <= 100, kind.name
            assert np.isfinite(asked).all()
            assert asked.min() >= 0
            assert asked.max() <= 16


# -- where it cannot be held ------------------------------------------------------------------------------------------------------------


def test_a_file_is_not_loaded_unless_it_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(b"cos\nsystem\n(S'touch /tmp/inferwatch-was-here'\ntR.")
    said = gameday(table(tmp_path), named=str(tmp_path / "model.joblib"))
    assert said.exit_code == 2
    assert "runs whatever code is in it" in said.output
    assert "--trust-model" in said.output


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("nowhere.joblib", "no such file"),
        ("tests.gameday.model", "neither a file"),
        ("tests.gameday.nowhere:answer", "cannot be imported (ModuleNotFoundError"),
        ("tests.gameday.model:nobody", "cannot be imported (AttributeError"),
        ("tests.gameday.model:nothing", "needs predict_proba, predict, or to be a function"),
        ("tests.gameday.model:broken", "the model failed on 64 rows of 6 features (RuntimeError: out of order)"),
        ("tests.gameday.model:logits", "no probabilities"),
        ("tests.gameday.model:short", "63 answers to 64 rows"),
    ],
)
def test_a_model_that_does_not_do_is_told_with_its_reason(named: str, why: str, tmp_path: Path) -> None:
    said = gameday(table(tmp_path), "--trust-model", named=named)
    assert said.exit_code == 2
    assert why in said.output


@pytest.mark.parametrize(
    ("changes", "more", "why"),
    [
        ({"f1": ["a", "b"] * 800}, (), "features f1 are text"),
        ({"member": np.arange(1600) < 1500}, (), "100 rows were not trained on"),
        ({}, ("--attacks", "fgsm"), "no attack is called fgsm; there are hopskipjump"),
        ({"member": None}, ("--attacks", "augmentation"), "no attack is left: augmentation: the rows do not say which were trained on"),
    ],
)
def test_rows_and_attacks_that_do_not_do_are_told(changes: dict[str, Any], more: tuple[str, ...], why: str, tmp_path: Path) -> None:
    named = "tests.gameday.model:named" if "f1" in changes else MODEL
    said = gameday(table(tmp_path, **changes), *more, named=named)
    assert said.exit_code == 2
    assert why in said.output


def test_a_built_reference_has_no_rows_to_resample(tmp_path: Path) -> None:
    said = gameday(tmp_path / "fraud-7.iwref")
    assert said.exit_code == 2
    assert "keeps no rows" in said.output


def test_without_the_toolbox_its_attacks_are_refused_and_the_others_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "art"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "art", None)
    said = gameday(table(tmp_path), *SMALL, "--attacks", "hopskipjump")
    assert said.exit_code == 2
    assert "uv sync --extra gameday" in said.output
    assert "--attacks square,jacobian" in said.output.replace("\n", " ")


# -- parts ------------------------------------------------------------------------------------------------------------------------------


def test_a_model_without_probabilities_is_attacked_without_score_attacks() -> None:
    X = data(300)
    service = service_of(load_model("tests.gameday.model:named", trust_file=False), X)
    assert (service.scores, service.classes) == (False, ("no", "yes"))
    assert service.answer(X).sum(1).tolist() == [1] * 300
    rows = Rows(features=tuple(Feature(name=f"f{j}") for j in range(D)), X=X, member=np.arange(300) < 50)
    kinds, skipped = chosen([], service, rows)
    assert skipped == {"zoo": "the model gives no probabilities", "square": "the model gives no probabilities"}
    assert {kind.name for kind in kinds} >= {"hopskipjump", "augmentation"}


def test_the_oracle_sends_legal_rows_and_not_one_more_than_its_budget() -> None:
    space = Space(np.zeros(D, np.float32), np.full(D, 3, np.float32), np.arange(D) < 2, None)
    oracle = Oracle(service_of(model.answer, data(10)), space, 25)
    oracle(np.full((20, D), 1.6))
    with pytest.raises(EnoughError):
        oracle(np.full((20, D), 99.0))
    assert oracle.rows.shape == (25, D)
    assert oracle.rows[0].tolist() == pytest.approx([2, 2, 1.6, 1.6, 1.6, 1.6])
    assert (oracle.rows[20:] == 3).all()


def test_ordinary_clients_send_rows_of_the_reference_in_time_and_each_their_own() -> None:
    X = data(500)
    sent = list(ordinary(X, 40, 86_400.0, np.random.default_rng(0)))
    known = {row.tobytes() for row in X}
    assert {one.truth for one in sent} == {"benign:ordinary", "benign:bulk", "benign:poller"}
    assert len({one.client for one in sent}) == 40
    for one in sent:
        assert len(one.X) == len(one.at_s) >= 20
        assert {row.tobytes() for row in one.X} <= known
        assert one.at_s.min() >= 0


def alert(at: float, severity: str, *clients: str, detector: str = "evasion") -> dict[str, Any]:
    alone = len(clients) == 1
    pool = [] if alone else list(clients)
    return {"at": at, "severity": severity, "client": clients[0] if alone else None, "clients": pool, "detector": detector}


def test_the_card_counts_attack_queries_only_and_pools_too(tmp_path: Path) -> None:
    X = np.zeros((10, 2), np.float32)
    kinds = [kind for kind in SUITE if kind.name in ("uniform", "natural")]
    sent = [
        Sent("x-0", "attack:extraction:uniform", np.arange(10.0) + 100, X),
        Sent("x-0", "benign:cover", np.arange(10.0), X),
        Sent("x-1", "attack:extraction:uniform", np.arange(10.0) + 100, X),
        Sent("n-0", "attack:extraction:natural", np.arange(10.0), X),
        Sent("c", "benign:ordinary", np.arange(10.0), X),
    ]
    alerts = [alert(50, "page", "x-0"), alert(103, "ticket", "x-0"), alert(104.5, "page", "x-0", "x-1", "c", detector="extraction")]
    (tmp_path / "alerts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in alerts))
    pq.write_table(pa.table({"client": ["x-0", "n-0"], "exposure": [0.5, float("nan")]}), tmp_path / "clients.parquet")
    ordinary_, (uniform, natural) = score(tmp_path, sent, kinds)
    assert ordinary_ == {"clients": 1, "events": 10, "paged": 1, "ticketed": 0, "named": {"c": ["extraction"]}}
    assert uniform.ids == (
        Found("x-0", 10, 5, 4, ("evasion", "extraction"), 0.5),
        Found("x-1", 10, 5, 5, ("extraction",), None),
    )
    assert (natural.severity, natural.missed) == ("nothing", False)


def test_a_day_is_passed_when_what_can_be_found_was_and_nobody_else() -> None:
    def card(paged: int | None, ordinary_paged: int, expected: bool = True) -> Card:
        line = Line("uniform", "extraction", expected, (Found("x", 10, paged, 3, ("evasion",), None),))
        return Card("m", {}, {"paged": ordinary_paged}, (line,), {}, ())

    assert card(5, 0).passed
    assert not card(None, 0).passed
    assert not card(5, 1).passed
    assert card(None, 0, expected=False).passed


def test_an_attack_that_needs_what_is_not_there_is_an_error_not_a_miss() -> None:
    with pytest.raises(GamedayError, match="no attack is called"):
        chosen(["everything"], service_of(model.answer, data(10)), Rows(features=(), X=data(10)))
