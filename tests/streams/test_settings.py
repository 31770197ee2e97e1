"""Settings: what is unknown, secret or out of range is told by its path; nothing shows a secret."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.settings import _SHAPES, MASK, Settings, SettingsError, load, mask_url, masked


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "inferwatch.toml"


def test_the_defaults_are_sound_and_need_no_file() -> None:
    assert load(None, {}).budget.false_pages_per_30d == 1.0


def test_a_file_changes_what_it_names_and_nothing_else(file: Path) -> None:
    file.write_text('[window]\nlength_s = 60\n[alertmanager]\nurls = ["http://a:9093"]\n')
    loaded = load(file, {})
    assert (loaded.window.length_s, loaded.window.max_open, loaded.alertmanager.urls) == (60.0, 4, ("http://a:9093",))


def test_the_environment_goes_before_the_file(file: Path) -> None:
    file.write_text("[window]\nlength_s = 60\nmax_open = 2\n")
    loaded = load(file, {"INFERWATCH_WINDOW_LENGTH_S": "30", "INFERWATCH_ALERTMANAGER_URLS": "http://a, http://b,", "HOME": "/"})
    assert (loaded.window.length_s, loaded.window.max_open, loaded.alertmanager.urls) == (30.0, 2, ("http://a", "http://b"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[window]\nlenght_s = 60", r"lenght_s.*\$\.window"),
        ("[windows]\nlength_s = 60", "unknown field `windows`"),
        ("window = 3", r"\$\.window"),
        ("[window]\nlength_s = 'long'", r"\$\.window\.length_s"),
        ("[window]\nlength_s = 0", r"length_s"),
        ("[window]\nlength_s = inf", r"\$\.window\.length_s"),
        ("[window]\nlength_s = nan", r"\$\.window\.length_s"),
        ("[budget]\nfalse_pages_per_30d = -1", r"\$\.budget\.false_pages_per_30d"),
        ("[budget]\nfalse_pages_per_30d = inf", r"\$\.budget\.false_pages_per_30d"),
        ("[drift]\nmateriality = 0.5", r"< 0\.5.*\$\.drift\.materiality"),
        ("[limits]\nclients = 0", r">= 1.*\$\.limits\.clients"),
        ("[metrics]\nport = 70000", r"\$\.metrics\.port"),
        ("[log]\nlevel = 'loud'", r"loud.*\$\.log\.level"),
        ("[kafka]\ntopic_prefix = 'a b'", r"\$\.kafka\.topic_prefix"),
        ("[kafka]\ntopic_prefix = 'a b'", "Expected letters, digits"),
        (
            "[alertmanager]\nurls = ['alertmanager:9093']",
            r"Expected an address such as http://alertmanager:9093 - at `\$\.alertmanager\.urls",
        ),
        ("[routing]\nteams = ['fraud']", r"Expected MODEL=TEAM, such as fraud=payments - at `\$\.routing\.teams\[\.\.\.\]|teams\[0\]"),
        ("[routing]\nrunbooks_url = 'file:/x'", "Expected an address such as https://docs.example/runbooks"),
        ("[integrity]\ndigests = ['fraud=1']", "Expected MODEL/VERSION=DIGEST"),
        ("[verdicts]\nactions = ['evasion=throttle(0)']", "Expected FAMILY=ACTION"),
        ("[kafka\n", "line 1"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_path_and_what_is_allowed(text: str, told: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=told) as caught:
        load(file, {})
    assert str(caught.value).startswith(str(file))


def test_a_budget_that_asks_for_no_evidence_is_refused_with_its_limit() -> None:
    with pytest.raises(SettingsError, match=r"budget\.false_pages_per_30d: 30000 is too many.*below 24,685\.7"):
        load(None, {"INFERWATCH_BUDGET_FALSE_PAGES_PER_30D": "30000"})


def test_a_misspelt_variable_names_the_settings_of_its_section() -> None:
    with pytest.raises(SettingsError, match=r"INFERWATCH_WINDOW_LENGHT_S: no such setting; \[window\] has length_s"):
        load(None, {"INFERWATCH_WINDOW_LENGHT_S": "1"})


def test_variables_of_the_sdk_and_the_tools_are_not_ours() -> None:
    load(
        None, {"INFERWATCH_SERVICE": "x", "INFERWATCH_BOOTSTRAP_SERVERS": "x", "INFERWATCH_PSEUDONYM_KEY": "x", "INFERWATCH_SETTINGS": "x"}
    )


@pytest.mark.parametrize(
    "text",
    [
        "[kafka]\nsasl_password = 'hunter2'",
        "[clickhouse]\npassword = 'hunter2'",
        "[membership]\nkey = 'hunter2'",
        "[clickhouse]\ndsn = 'https://w:hunter2@db/x'",
        "[clickhouse]\ndsn = 'https://db/x?password=hunter2'",
        "[alertmanager]\nurls = ['http://ok', 'https://u:hunter2@am']",
    ],
)
def test_a_secret_in_a_file_is_refused_with_the_variable_to_use_instead(text: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"INFERWATCH_[A-Z_]+_FILE") as caught:
        load(file, {})
    assert "hunter2" not in str(caught.value)


def test_a_secret_may_come_by_a_file_of_its_own(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("sixteen bytes or more\n")
    assert load(None, {"INFERWATCH_MEMBERSHIP_KEY_FILE": str(secret)}).membership.key == "sixteen bytes or more"


def test_a_secret_file_that_cannot_be_read_is_told_by_variable_and_path(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, told in ((tmp_path / "absent", "No such file"), (tmp_path, "directory"), (binary, "not UTF-8")):
        with pytest.raises(SettingsError, match=f"INFERWATCH_MEMBERSHIP_KEY_FILE: .*{told}"):
            load(None, {"INFERWATCH_MEMBERSHIP_KEY_FILE": str(path)})


def test_a_settings_file_that_cannot_be_read_is_told_by_its_path(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "absent.toml", tmp_path, binary):
        with pytest.raises(SettingsError, match=str(path)):
            load(path, {})


def test_what_is_shown_holds_no_secret() -> None:
    shown = msgspec.json.encode(
        masked(
            load(
                None,
                {
                    "INFERWATCH_KAFKA_SASL_PASSWORD": "hunter2",
                    "INFERWATCH_MEMBERSHIP_KEY": "hunter2",
                    "INFERWATCH_CLICKHOUSE_PASSWORD": "hunter2",
                    "INFERWATCH_CLICKHOUSE_DSN": "https://w:hunter2@db:8443/x?password=hunter2",
                    "INFERWATCH_ALERTMANAGER_URLS": "https://u:hun@ter2@am, https://am?api_key=hunter2",
                },
            )
        )
    ).decode()
    assert "hunter2" not in shown
    assert "ter2" not in shown
    assert shown.count(MASK) == 7


_word = st.text(st.characters(codec="ascii", exclude_characters=":/?#&= \n\r\t", categories=["L", "N", "P", "S"]), min_size=6, max_size=20)


@given(secret=_word)
def test_no_password_survives_in_a_url(secret: str) -> None:
    url = f"https://u:~{secret}~@host:1/db"
    assert mask_url(url) == "https://u:***@host:1/db"


@pytest.mark.parametrize("url", ["http://host:8123/db", "http://user@host/db", "chdb:///data/x", "http://h?database=inferwatch", ""])
def test_a_url_without_secret_is_shown_as_it_is(url: str) -> None:
    assert mask_url(url) == url


def test_every_text_that_must_have_a_shape_says_it_in_words() -> None:
    def patterns(where: str, kind: Any) -> Iterator[str]:
        if any(getattr(meta, "pattern", None) for meta in getattr(kind, "__metadata__", ())):
            yield where
        for part in getattr(kind, "__args__", ()):
            yield from patterns(where, part)

    sections = get_type_hints(Settings, include_extras=True)
    found = {
        where
        for section, kind in sections.items()
        for name, hint in get_type_hints(kind, include_extras=True).items()
        for where in patterns(f"{section}.{name}", hint)
    }
    assert found == set(_SHAPES)
