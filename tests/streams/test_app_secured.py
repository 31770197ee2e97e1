"""The same worker where Kafka wants TLS and a password."""

from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.security import Security
from tests.streams.process import Worker, until
from tests.streams.tls import certificates, login

PASSWORD = "an-open-sesame"


@pytest.mark.slow
@pytest.mark.kafka
def test_a_worker_reads_and_writes_over_tls_and_its_password_stays_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = certificates(tmp_path)
    ca, keystore = made.ca, made.keystore
    with EmbeddedKafka(security=Security(keystore, ca, {"admin": PASSWORD})) as kafka:
        worker = Worker(kafka, "secured", tmp_path)
        monkeypatch.setenv("INFERWATCH_KAFKA_SECURITY", "sasl_ssl")
        monkeypatch.setenv("INFERWATCH_KAFKA_CA_FILE", str(ca))
        monkeypatch.setenv("INFERWATCH_KAFKA_SASL_USERNAME", "admin")
        monkeypatch.setenv("INFERWATCH_KAFKA_SASL_PASSWORD", "a-wrong-word")
        try:
            worker.start()
            until(worker, lambda: "uthentication failed" in worker.health()[1])
            assert worker.end() == 0
            monkeypatch.setenv("INFERWATCH_KAFKA_SASL_PASSWORD", PASSWORD)
            worker.start()
            until(worker, lambda: worker.health()[0] == 200)
            producer = Producer(login(ca, "admin", PASSWORD) | {"bootstrap.servers": kafka.bootstrap_servers})
            producer.produce("secured.events", "7", "c", 1)
            producer.flush(20)
            until(worker, lambda: worker.judge().total == 7)
            assert worker.end() == 0
        finally:
            worker.kill()
    text = worker.log.read_text()
    assert PASSWORD not in text
    assert "a-wrong-word" not in text
