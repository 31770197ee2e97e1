"""docker-compose.yml agrees with the settings, the files beside it, and itself. There is no container engine behind these tests."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from dashboards.build import VIEWS
from dashboards.grafana import DATASOURCE
from dashboards.push import Store
from streams.cli import main
from streams.clickhouse import ClickHouse
from streams.settings import load
from tests.deploy.files import COMPOSE, DOCKERFILE, ROOT, SERVICES

GRAFANA = ROOT / "dashboards" / "provisioning"


def plain(value: str) -> str:
    """A value as compose makes it when the environment sets nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def environment(service: str) -> dict[str, str]:
    return {name: plain(value) for name, value in SERVICES[service].get("environment", {}).items()}


def mounts(service: str) -> dict[str, str]:
    """Source by target."""
    return {parts[1]: parts[0] for parts in (text.split(":") for text in SERVICES[service].get("volumes", []))}


def test_the_services_of_the_design_are_there() -> None:
    assert set(SERVICES) == {"kafka", "clickhouse", "alertmanager", "prometheus", "grafana", "migrate", "worker", "demo", "ocsf", "kserve"}
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "demo": ["demo"], "ocsf": ["siem"], "kserve": ["kserve"],
    }  # fmt: skip


@pytest.mark.parametrize("service", SERVICES)
def test_only_known_keys_are_used(service: str) -> None:
    known = {
        "image", "build", "environment", "volumes", "ports", "healthcheck", "depends_on", "restart", "command", "entrypoint", "logging",
        "security_opt", "cap_drop", "read_only", "tmpfs", "stop_grace_period", "ulimits", "profiles",
    }  # fmt: skip
    assert set(SERVICES[service]) <= known


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_pinned(service: str) -> None:
    name, _, tag = SERVICES[service]["image"].rpartition(":")
    assert name
    assert re.fullmatch(r"v?\d+\.\d+(\.\d+)*", tag), f"{SERVICES[service]['image']} means another thing tomorrow"


def test_grafanas_plugin_is_pinned() -> None:
    assert re.fullmatch(r"[a-z-]+@\d+\.\d+\.\d+", environment("grafana")["GF_PLUGINS_PREINSTALL_SYNC"])


@pytest.mark.parametrize("service", SERVICES)
def test_every_environment_value_is_text(service: str) -> None:
    for name, value in SERVICES[service].get("environment", {}).items():
        assert isinstance(value, str), f"{name}: YAML would make {value!r} of it"


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_waited_for_can_come(service: str) -> None:
    for other, how in SERVICES[service].get("depends_on", {}).items():
        health = SERVICES[other].get("healthcheck", {})
        if how["condition"] == "service_healthy":
            assert health.get("test") or (SERVICES[other]["image"].startswith("inferwatch:") and not health.get("disable"))
        else:
            assert how["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "no"


@pytest.mark.parametrize("service", SERVICES)
def test_mounted_files_exist_and_volumes_are_named(service: str) -> None:
    for target, source in mounts(service).items():
        assert target.startswith("/")
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"]


def test_every_named_volume_is_used() -> None:
    assert set(COMPOSE["volumes"]) == {source for service in SERVICES for source in mounts(service).values() if not source.startswith("./")}


def test_ports_are_published_on_this_machine_only_and_once() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


@pytest.mark.parametrize(("service", "user"), [("worker", "iw_writer"), ("migrate", "iw_migrator")])
def test_the_workers_environment_is_settings_that_lead_to_the_other_services(service: str, user: str) -> None:
    settings = load(None, environment(service))  # refuses a name that is no setting
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert "INTERNAL://kafka:9092" in environment("kafka")["KAFKA_ADVERTISED_LISTENERS"]
    assert settings.alertmanager.urls == ("http://alertmanager:9093",)
    assert f"127.0.0.1:{settings.metrics.port}:{settings.metrics.port}" in SERVICES["worker"]["ports"]
    store = environment("clickhouse")
    assert ClickHouse.of(settings.clickhouse).target == f"http://{user}:***@clickhouse:8123/inferwatch"
    password = ElementTree.parse(ROOT / "deploy" / "clickhouse" / "users.d" / "inferwatch.xml").find(f"users/{user}/password")
    assert password is not None
    assert settings.clickhouse.password == store[password.get("from_env") or ""]
    assert not {"CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD", "CLICKHOUSE_DB"} & set(store), (
        "with these the image makes a user with every right"
    )


@pytest.mark.parametrize("service", ["worker", "migrate", "demo", "ocsf", "kserve"])
def test_a_service_runs_a_command_that_there_is_with_options_that_it_has(service: str) -> None:
    word, *arguments = SERVICES[service].get("command", ["worker"])
    command = main.get_command(main.make_context("inferwatch", ["--help-not-asked"], resilient_parsing=True), word)
    assert command is not None
    assert command.make_context(word, [plain(one) for one in arguments])


@pytest.mark.parametrize(("service", "path"), [("ocsf", "/metrics"), ("kserve", "/healthz")])
def test_a_neighbour_is_asked_on_the_port_that_it_serves_and_holds_no_password_of_the_store(service: str, path: str) -> None:
    one = SERVICES[service]
    (port,) = re.findall(rf"http://127\.0\.0\.1:(\d+){path}", one["healthcheck"]["test"][-1])
    assert port in one["command"]
    assert all(published == f"127.0.0.1:{port}:{port}" for published in one.get("ports", []))
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    given = environment(service)
    settings = load(None, given)  # refuses a name that is no setting
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert not settings.clickhouse.password
    assert not {name for name in given if "CLICKHOUSE" in name or "MEMBERSHIP" in name}
    for target in mounts(service):  # a volume on a folder that the image has not belongs to root
        assert target.removeprefix("/var/lib/inferwatch/") in re.findall(r"RUN mkdir (.+)", DOCKERFILE)[0].split()


def test_kafka_is_one_node_that_leaves_topics_to_the_worker() -> None:
    kafka = environment("kafka")
    listeners = dict(part.split("://") for part in kafka["KAFKA_LISTENERS"].split(","))
    protocols = dict(part.split(":") for part in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    advertised = dict(part.split("://") for part in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert set(listeners) == set(protocols)
    assert set(advertised) == set(listeners) - {kafka["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    assert all(address.split(":")[1] == listeners[name].split(":")[1] for name, address in advertised.items())
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert mounts("kafka")[kafka["KAFKA_LOG_DIRS"]] == "kafka"
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", kafka["CLUSTER_ID"])


def test_the_example_environment_names_every_variable_once_and_no_other() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    named = re.findall(r"^(\w+)=", (ROOT / "deploy" / "env.example").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(used)


def test_an_empty_example_environment_keeps_the_defaults() -> None:
    """``:-`` and not ``-``: an empty line in .env is as none."""
    assert not re.findall(r"\$\{\w+-", (ROOT / "docker-compose.yml").read_text())


def yaml_of(*parts: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(GRAFANA.joinpath(*parts).read_text())
    return loaded


def test_the_provisioned_data_source_is_the_one_that_dashboards_ask_and_a_push_makes() -> None:
    sources = {source["uid"]: source for source in yaml_of("datasources", "inferwatch.yml")["datasources"]}
    source = sources[DATASOURCE["uid"]]
    pushed = Store(host="clickhouse").datasource
    assert {key: source[key] for key in pushed} == pushed
    assert source["secureJsonData"] == {"password": "${GRAFANA_CLICKHOUSE_PASSWORD}"}
    assert "GRAFANA_CLICKHOUSE_PASSWORD" in environment("grafana")
    assert sources["inferwatch-alertmanager"]["url"] == "http://alertmanager:9093"


def test_grafana_finds_the_dashboards_where_they_are_mounted() -> None:
    (provider,) = yaml_of("dashboards", "inferwatch.yml")["providers"]
    folder = provider["options"]["path"]
    assert mounts("grafana")[folder] == "./dashboards/json"
    home = environment("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.removeprefix(f"{folder}/").removesuffix(".json") in VIEWS


def test_grafanas_user_reads_only_and_has_the_password_that_grafana_gives() -> None:
    tree = ElementTree.parse(ROOT / "deploy" / "clickhouse" / "users.d" / "grafana.xml")
    name = Store(host="clickhouse").username
    user = tree.find(f"users/{name}")
    assert user is not None
    password = user.find("password")
    assert password is not None
    assert password.get("from_env") == "GRAFANA_CLICKHOUSE_PASSWORD"
    assert environment("clickhouse")["GRAFANA_CLICKHOUSE_PASSWORD"] == environment("grafana")["GRAFANA_CLICKHOUSE_PASSWORD"]
    assert tree.findtext(f"profiles/{user.findtext('profile')}/readonly") == "2"  # reads, and may set max_execution_time
    grants = [grant.text for grant in user.findall("grants/query")]
    assert grants == ["GRANT SELECT ON inferwatch.*"]


def test_clickhouses_own_settings_are_well_formed() -> None:
    for file in (ROOT / "deploy" / "clickhouse").rglob("*.xml"):
        assert ElementTree.parse(file).getroot().tag == "clickhouse", file
