"""The embedded Kafka is a real Kafka: it keeps what it took, and leaves nothing behind."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.embedded import MissingPartError
from streams.embedded.jars import KAFKA_VERSION, java, kafka_jars
from streams.embedded.kafka import EmbeddedKafka, _recording
from streams.embedded.process import StartError
from streams.embedded.security import Security
from tests.embedded.test_process import eventually, is_running
from tests.parts import unavailable
from tests.topics import Topics

pytestmark = pytest.mark.kafka

Settings = dict[str, str | int | float | bool]

# A killed broker counts as alive for this long, and waits for it when it comes back; 3 s otherwise.
QUICK = {"broker.session.timeout.ms": "1000", "broker.heartbeat.interval.ms": "200"}


@pytest.fixture(scope="module", autouse=True)
def _kafka_can_be_had() -> None:
    try:
        kafka_jars()
    except MissingPartError as error:
        unavailable("The embedded Kafka", str(error))


def create(bootstrap_servers: str, topic: str, security: Settings | None = None) -> None:
    settings: Settings = {"bootstrap.servers": bootstrap_servers, "log_level": 0}
    admin = AdminClient(settings | (security or {}))
    admin.create_topics([NewTopic(topic, 1)])[topic].result(timeout=20)


def produce(bootstrap_servers: str, topic: str, *values: bytes, security: Settings | None = None) -> None:
    errors: list[object] = []
    settings: Settings = {
        "bootstrap.servers": bootstrap_servers,
        "acks": "all",
        "linger.ms": 0,
        "message.timeout.ms": 20_000,
        "log_level": 0,
    }
    producer = Producer(settings | (security or {}))
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error) if error else None)
    assert producer.flush(30) == 0
    assert errors == []


def read(bootstrap_servers: str, topic: str, count: int) -> list[bytes | None]:
    settings: Settings = {"bootstrap.servers": bootstrap_servers, "group.id": "test", "log_level": 0}
    consumer = Consumer(settings)
    partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    try:
        records = consumer.consume(count, timeout=20)
    finally:
        consumer.close()
    assert all(record.error() is None for record in records)
    return [record.value() for record in records]


def test_what_is_produced_is_consumed(kafka: EmbeddedKafka, topics: Topics) -> None:
    topic = topics.create("events", partitions=3)
    produce(kafka.bootstrap_servers, topic, b"a", b"b", b"c")
    assert sorted(value or b"" for value in read(kafka.bootstrap_servers, topic, 3)) == [b"a", b"b", b"c"]


def test_a_topic_nobody_created_is_an_error_not_a_new_topic(kafka: EmbeddedKafka, topics: Topics) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.list_topics(topics.prefix + "typo", timeout=20)
    assert topics.prefix + "typo" not in admin.list_topics(timeout=20).topics


def test_topics_of_a_test_are_deleted_after_it(kafka: EmbeddedKafka) -> None:
    mine = Topics(kafka)
    name = mine.create("x", cleanup_policy="compact")
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    assert name in admin.list_topics(timeout=20).topics
    mine.delete_all()
    assert eventually(lambda: name not in admin.list_topics(timeout=20).topics)


def test_a_killed_node_restarts_with_its_data_and_a_kept_folder_has_it_the_next_time(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with EmbeddedKafka(folder=folder, properties=QUICK) as first:
        address = first.bootstrap_servers
        create(address, "events")
        produce(address, "events", b"before")
        first.nodes[0].kill()
        first.nodes[0].start()
        produce(address, "events", b"after")
        with pytest.raises(StartError, match="is used by another embedded Kafka"):
            EmbeddedKafka(folder=folder).start()
        assert first.nodes[0].pid is not None
    with EmbeddedKafka(folder=folder) as second:
        assert second.bootstrap_servers == address
        assert read(address, "events", 2) == [b"before", b"after"]
    with pytest.raises(ValueError, match="was made with nodes=1, got nodes=3"):
        EmbeddedKafka(3, folder=folder).start()


_PARENT = """
import time
from streams.embedded.kafka import EmbeddedKafka
with EmbeddedKafka() as kafka:
    print(kafka.nodes[0].pid, kafka.nodes[0].home, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_the_broker_and_its_files_go_when_the_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, home = parent.stdout.readline().split()
        assert is_running(int(pid))
        parent.send_signal(signal.SIGKILL)
    assert eventually(lambda: not is_running(int(pid)))
    assert eventually(lambda: not Path(home).parent.exists())


def test_a_damaged_recording_of_the_start_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jars, recording = kafka_jars(), _recording(kafka_jars(), java()[1])
    mine = tmp_path / "kafka" / KAFKA_VERSION
    damaged = mine / recording.relative_to(jars[0].parent)
    damaged.parent.mkdir(parents=True)
    for jar in jars:
        (mine / jar.name).hardlink_to(jar)
    content = bytearray(recording.read_bytes() if recording.exists() else bytes(600_000))
    middle = len(content) // 3
    content[middle : middle + 200_000] = bytes(range(200)) * 1000  # a whole one damaged like this crashes the JVM
    damaged.write_bytes(content)
    monkeypatch.setenv("INFERWATCH_CACHE", str(tmp_path))
    with EmbeddedKafka() as kafka:
        create(kafka.bootstrap_servers, "events")
        produce(kafka.bootstrap_servers, "events", b"a")


def test_three_nodes_go_on_when_one_is_killed() -> None:
    with EmbeddedKafka(3, properties=QUICK) as kafka:
        create(kafka.bootstrap_servers, "events")
        kafka.nodes[2].kill()
        produce(kafka.bootstrap_servers, "events", b"a")
        assert len(kafka.bootstrap_servers.split(",")) == 3


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        unavailable("The program openssl", "Install it, for example with `apt-get install openssl`.")
    key, certificate, keystore = tmp_path / "key.pem", tmp_path / "ca.pem", tmp_path / "keystore.pem"
    request = (
        f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    )
    subprocess.run([openssl, *request.split()], check=True, capture_output=True)
    keystore.write_text(key.read_text() + certificate.read_text())
    return keystore, certificate


def test_a_secured_broker_lets_in_who_has_the_password_and_a_right(certificates: tuple[Path, Path]) -> None:
    keystore, ca = certificates
    security = Security(keystore, ca, {"admin": "a-word", "reader": "r-word"})

    def as_user(name: str) -> Settings:
        login: Settings = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": name, "sasl.password": security.users[name]}
        return login | {"security.protocol": "SASL_SSL", "ssl.ca.location": str(ca)}

    with EmbeddedKafka(security=security) as kafka:
        create(kafka.bootstrap_servers, "events", as_user("admin"))
        produce(kafka.bootstrap_servers, "events", b"a", security=as_user("admin"))
        with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
            create(kafka.bootstrap_servers, "mine", as_user("reader"))
    assert "a-word" not in repr(security)


def test_nonsense_is_refused_with_its_range() -> None:
    with pytest.raises(ValueError, match="nodes must be 1 to 3, got 4"):
        EmbeddedKafka(4)
    with pytest.raises(RuntimeError, match=r"not running: use `with EmbeddedKafka"):
        _ = EmbeddedKafka().bootstrap_servers
    with pytest.raises(ValueError, match="admin must be one of the users"):
        Security(Path("k"), Path("c"), {"other": "word"})
    with pytest.raises(ValueError, match="must not be empty nor contain"):
        Security(Path("k"), Path("c"), {"admin": 'a"b'})
