"""The manifests fit Kubernetes' own schemas, the settings, the command line and the image. There is no cluster behind these tests."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest
import yaml

from streams.cli import main
from streams.settings import SECRETS, Settings, load
from tests.deploy.files import DOCKERFILE, ROOT, SERVICES
from tests.deploy.operator_schemas import SCHEMAS
from tests.parts import unavailable

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
FILES = sorted({*FOLDER.rglob("*.yaml")} - {FOLDER / "kustomization.yaml"})
OBJECTS: list[tuple[str, dict[str, Any]]] = [
    (f"{file.name} {one['kind']}", one) for file in FILES for one in yaml.safe_load_all(file.read_text())
]
VERSIONS = ("1.30", kubernetes_validate.latest_version())
MONITORS = [one for _, one in OBJECTS if one["kind"] in ("ServiceMonitor", "PodMonitor")]

every_object = pytest.mark.parametrize(("name", "one"), OBJECTS, ids=[name for name, _ in OBJECTS])


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, one in OBJECTS:
        spec = one.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield name, spec["template"]["spec"]


every_pod = pytest.mark.parametrize(("name", "pod"), list(pods()), ids=[name for name, _ in pods()])
OURS = [(name, pod) for name, pod in pods() if pod["containers"][0]["image"] == "inferwatch"]
NEIGHBOURS = ("kserve.yaml Deployment", "ocsf.yaml Deployment")
AUDIT = "audit.yaml CronJob"
ours = pytest.mark.parametrize(("name", "pod"), OURS, ids=[name for name, _ in OURS])
needed = pytest.mark.parametrize(("name", "pod"), [one for one in OURS if one[0] not in (*NEIGHBOURS, AUDIT)], ids=["migrate", "worker"])
neighbour = pytest.mark.parametrize("name", NEIGHBOURS)


@every_object
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schema_of_its_kind(name: str, one: dict[str, Any], version: str) -> None:
    if one["kind"] in SCHEMAS:
        jsonschema.validate(one, SCHEMAS[one["kind"]])
    else:
        assert kubernetes_validate.validate(one, version, strict=True)


def test_the_schemas_do_find_a_mistake() -> None:
    for one in (one for _, one in OBJECTS if one["kind"] in SCHEMAS):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(one | {"spec": one["spec"] | {"selectr": {}}}, SCHEMAS[one["kind"]])
    wrong = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "lables": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_what_is_applied_exists_and_what_is_not_is_a_template_or_optional() -> None:
    applied = {FOLDER / name for name in KUSTOMIZATION["resources"]}
    assert all(file.is_file() for file in applied)
    left = set(FILES) - applied
    assert {file.name for file in left if file.parent == FOLDER} == {"secret.example.yaml"}
    assert all((FOLDER / name).is_file() for one in KUSTOMIZATION["configMapGenerator"] for name in one["files"])


@pytest.mark.parametrize("optional", [(), ("ocsf.yaml", "kserve.yaml")], ids=["as it is", "with the optional ones"])
def test_kustomize_renders_it(tmp_path: Path, optional: tuple[str, ...]) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        unavailable("kubectl", "Debian has it as kubernetes-client; any version with `kubectl kustomize` will do.")
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    resources = [*KUSTOMIZATION["resources"], *(f"optional/{name}" for name in optional)]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(KUSTOMIZATION | {"resources": resources}))
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    assert {one.get("metadata", {}).get("namespace", "inferwatch") for one in rendered} == {"inferwatch"}
    for one in rendered:
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
    images = re.findall(r"image: (\S+)", done.stdout)
    assert set(images) == {SERVICES["worker"]["image"]}, "compose and Kubernetes run the same image"
    (map_name,) = [one["metadata"]["name"] for one in rendered if one["kind"] == "ConfigMap"]
    mounted = [one["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] for one in rendered if "template" in one.get("spec", {})]
    assert mounted == [map_name] * (2 + len(optional))


def environment(pod: dict[str, Any], secrets: Path) -> dict[str, str]:
    """As the container has it, with the secrets of the template below a folder of ours."""
    (container,) = pod["containers"]
    template = next(one for name, one in OBJECTS if name.startswith("secret.example"))
    for key in template["stringData"]:
        (secrets / key).write_text("sixteen bytes or more")
    (mount,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "secrets"]
    return {one["name"]: one["value"].replace(mount, str(secrets)) for one in container["env"]}


@needed
def test_the_settings_of_a_pod_load_with_the_secrets_of_the_template(name: str, pod: dict[str, Any], tmp_path: Path) -> None:
    settings = load(FOLDER / "inferwatch.toml", environment(pod, tmp_path))
    assert isinstance(settings, Settings)
    assert settings.state.store == "kafka"
    assert settings.kafka.replication >= 3
    assert settings.clickhouse.password == "sixteen bytes or more"
    assert settings.clickhouse.dsn.partition("@")[2] == "clickhouse.clickhouse.svc:8443/inferwatch"
    assert ("iw_migrator" in settings.clickhouse.dsn) == ("migrate" in name)
    if "worker" in name:
        given = {one["name"] for one in pod["containers"][0]["env"]}
        assert given == {f"INFERWATCH_{section}_{key}_FILE".upper() for section, key in SECRETS}, "every secret has its file"
        assert all(getattr(getattr(settings, section), key) for section, key in SECRETS)


def test_files_that_the_settings_name_are_in_the_secret() -> None:
    settings = load(FOLDER / "inferwatch.toml", {})
    template = next(one for name, one in OBJECTS if name.startswith("secret.example"))
    for file in (settings.kafka.ca_file, settings.clickhouse.ca_file):
        folder, _, key = file.rpartition("/")
        assert folder == "/run/secrets/inferwatch"
        assert key in template["stringData"]


def test_no_secret_is_filled_in() -> None:
    template = next(one for name, one in OBJECTS if name.startswith("secret.example"))
    assert set(template["stringData"].values()) == {""}


@ours
def test_the_arguments_are_the_command_lines(name: str, pod: dict[str, Any]) -> None:
    word, *arguments = pod["containers"][0]["args"]
    command = main.get_command(main.make_context("inferwatch", ["--help-not-asked"], resilient_parsing=True), word)
    assert command is not None
    while isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    context = command.make_context(word, list(arguments))
    (mount,) = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "settings"]
    assert context.params["settings_file"] == Path(mount) / "inferwatch.toml"


@every_pod
def test_nothing_runs_as_root_or_may_become_it(name: str, pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        own = container["securityContext"]
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"], own["capabilities"]) == (False, True, {"drop": ["ALL"]})
        assert {"requests", "limits"} <= set(container["resources"])


@ours
def test_the_user_is_the_images_and_what_it_writes_is_mounted(name: str, pod: dict[str, Any]) -> None:
    assert f"USER {pod['securityContext']['runAsUser']}:" in DOCKERFILE
    written = dict(re.findall(r"(FAUST_DATADIR|NUMBA_CACHE_DIR)=(\S+)", DOCKERFILE))
    mounts = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if not mount.get("readOnly")]
    if "migrate" not in name:
        assert all(any(path.startswith(mount) for mount in mounts) for path in written.values())


@every_pod
def test_every_mount_is_a_volume(name: str, pod: dict[str, Any]) -> None:
    claims = {claim["metadata"]["name"] for _, one in OBJECTS for claim in one.get("spec", {}).get("volumeClaimTemplates", [])}
    volumes = {volume["name"] for volume in pod.get("volumes", [])} | claims
    assert {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]} <= volumes


def test_probes_ask_what_the_worker_serves() -> None:
    pod = dict(pods())["worker.yaml Deployment"]
    (container,) = pod["containers"]
    settings = load(FOLDER / "inferwatch.toml", {})
    assert container["ports"] == [{"name": "metrics", "containerPort": settings.metrics.port}]
    assert settings.metrics.host == "0.0.0.0"
    code = (ROOT / "streams/health.py").read_text()
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert all(f'web.get("{path}"' in code for path in paths.values())
    assert paths["liveness"] != "/healthz", "a neighbour that is away must not restart the workers"


def test_selectors_select_the_workers() -> None:
    by_name = dict(OBJECTS)
    labels = by_name["worker.yaml Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert by_name["worker.yaml Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert by_name["worker.yaml PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert by_name["worker.yaml Service"]["spec"]["selector"] == labels
    spread = by_name["worker.yaml Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"][0]
    assert spread["labelSelector"]["matchLabels"] == labels


@pytest.mark.parametrize("file", ["worker.yaml", "ocsf.yaml", "kserve.yaml"])
def test_what_serves_metrics_is_asked_under_the_name_that_the_rules_use(file: str) -> None:
    template = dict(OBJECTS)[f"{file} Deployment"]["spec"]["template"]
    labels, (port,) = template["metadata"]["labels"], template["spec"]["containers"][0]["ports"]
    (monitor,) = [one["spec"] for one in MONITORS if one["spec"]["selector"]["matchLabels"].items() <= labels.items()]
    (endpoint,) = monitor.get("endpoints") or monitor["podMetricsEndpoints"]
    assert endpoint["port"] == port["name"]
    job = f"inferwatch-{file.removesuffix('.yaml')}"
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": job}]
    assert job in [one["job_name"] for one in yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]]
    open_to = [rule for label, one in OBJECTS if label.endswith(" NetworkPolicy") for rule in one["spec"].get("ingress", [])]
    assert any({"port": port["containerPort"]} in rule["ports"] and "monitoring" in str(rule["from"]) for rule in open_to)


def test_the_operator_gets_the_rules_that_compose_has() -> None:
    given = dict(OBJECTS)["prometheusrule.yaml PrometheusRule"]["spec"]
    assert given == yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())


def test_more_workers_than_partitions_are_not_asked_for() -> None:
    assert dict(OBJECTS)["worker.yaml Deployment"]["spec"]["replicas"] <= load(FOLDER / "inferwatch.toml", {}).kafka.partitions


def test_alertmanager_is_composes() -> None:
    pod = dict(pods())["alertmanager.yaml StatefulSet"]
    (container,) = pod["containers"]
    assert container["image"] == SERVICES["alertmanager"]["image"]
    assert container["command"] == SERVICES["alertmanager"]["entrypoint"]
    assert load(FOLDER / "inferwatch.toml", {}).alertmanager.urls == ("http://alertmanager:9093",)


def secret_of(name: str) -> tuple[str, set[str]]:
    """The secret that the head of an optional file tells how to make: its name and its keys."""
    text = (FOLDER / "optional" / name.partition(" ")[0]).read_text()
    found = re.search(r"create secret generic (\S+) (.+)", text)
    assert found is not None
    return found[1], set(re.findall(r"--from-(?:literal|file)=([^=\s]+)=", found[2]))


@neighbour
def test_a_neighbour_has_a_secret_and_a_kafka_user_of_its_own_and_reaches_no_store(name: str, tmp_path: Path) -> None:
    pod = dict(pods())[name]
    (container,) = pod["containers"]
    secret, keys = secret_of(name)
    assert secret != "inferwatch"
    assert [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume] == [secret]
    for key in keys:
        (tmp_path / key).write_text("sixteen bytes or more")
    values = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    files = {one: value.rpartition("/")[2] for one, value in values.items() if one.endswith("_FILE")}
    from_secret = [one["valueFrom"]["secretKeyRef"] for one in container["env"] if "valueFrom" in one]
    settings = load(FOLDER / "inferwatch.toml", values | {one: str(tmp_path / file) for one, file in files.items()})
    assert settings.kafka.sasl_username not in {"worker", ""}
    assert settings.kafka.sasl_password == "sixteen bytes or more"
    assert not settings.clickhouse.password
    assert set(files.values()) | {one["key"] for one in from_secret} | {"kafka-ca.pem"} == keys, "no key too many, and none missing"
    assert {one["name"] for one in from_secret} <= {secret}
    (policy,) = [one for label, one in OBJECTS if label == f"{name.partition(' ')[0]} NetworkPolicy"]
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert not ports & {8123, 8443}
    assert {9092, 9093, 9094, 53} <= ports


@neighbour
def test_selectors_select_the_neighbour_and_not_the_workers(name: str) -> None:
    file = name.partition(" ")[0]
    mine = {label.partition(" ")[2]: one["spec"] for label, one in OBJECTS if label.startswith(f"{file} ")}
    labels = mine["Deployment"]["template"]["metadata"]["labels"]
    assert mine["Deployment"]["selector"]["matchLabels"] == labels == mine["NetworkPolicy"]["podSelector"]["matchLabels"]
    assert labels["app.kubernetes.io/name"] != "inferwatch", "the workers' network rules are not for it"
    if "Service" in mine:
        assert mine["Service"]["selector"] == labels


@neighbour
def test_probes_ask_what_the_neighbour_serves_and_only_whom_it_is_for_may_come(name: str) -> None:
    (container,) = dict(pods())[name]["containers"]
    (port,) = container["ports"]
    arguments = container["args"]
    assert str(port["containerPort"]) in arguments
    (policy,) = [one for label, one in OBJECTS if label == f"{name.partition(' ')[0]} NetworkPolicy"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"port": port["containerPort"]}]
    assert all(set(one) == {"namespaceSelector"} and one["namespaceSelector"]["matchLabels"] for one in rule["from"])
    for kind in ("liveness", "readiness"):
        probe = container[f"{kind}Probe"]["httpGet"]
        assert probe["port"] == port["name"]
        assert probe["path"] == "/metrics" or f'web.get("{probe["path"]}"' in (ROOT / "streams/kserve_receiver.py").read_text()


def test_the_audit_log_is_verified_by_users_that_read_it_and_nothing_else(tmp_path: Path) -> None:
    cron = dict(OBJECTS)[AUDIT]["spec"]
    assert (cron["concurrencyPolicy"], cron["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"]) == ("Forbid", "Never")
    (container,) = dict(pods())[AUDIT]["containers"]
    assert container["args"][:2] == ["audit", "verify"]
    secret, keys = secret_of("audit.yaml")
    assert [one["secret"]["secretName"] for one in dict(pods())[AUDIT]["volumes"] if "secret" in one] == [secret] != ["inferwatch"]
    for key in keys:
        (tmp_path / key).write_text("sixteen bytes or more")
    files = {one["name"]: one["value"].replace("/run/secrets/inferwatch", str(tmp_path)) for one in container["env"]}
    settings = load(FOLDER / "inferwatch.toml", files)
    assert settings.clickhouse.password == settings.kafka.sasl_password == "sixteen bytes or more"
    assert settings.kafka.sasl_username not in {"worker", ""}
    plain = load(FOLDER / "inferwatch.toml", {}).clickhouse
    assert settings.clickhouse.dsn == plain.dsn.replace("iw_writer", "iw_auditor")
    named = {path.rpartition("/")[2] for path in (settings.kafka.ca_file, settings.clickhouse.ca_file)}
    assert keys == named | {"clickhouse-password", "kafka-password"}
    (policy,) = [one["spec"] for label, one in OBJECTS if label == "audit.yaml NetworkPolicy"]
    labels = cron["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert "ingress" not in policy
    assert labels["app.kubernetes.io/name"] != "inferwatch", "the workers' rules and probes are not for it"
