"""The same worker where Kafka wants TLS and a password."""

import shutil
import subprocess
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.security import Security
from tests.parts import unavailable
from tests.streams.process import Worker, until

PASSWORD = "an-open-sesame"


@pytest.mark.slow
@pytest.mark.kafka
def test_a_worker_reads_and_writes_over_tls_and_its_password_stays_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        unavailable("The program openssl", "Install it, for example with `apt-get install openssl`.")
    key, ca, keystore = tmp_path / "key.pem", tmp_path / "ca.pem", tmp_path / "keystore.pem"
    request = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {ca}"
    subprocess.run([openssl, *request.split()], check=True, capture_output=True)
    keystore.write_text(key.read_text() + ca.read_text())
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
            login = {"security.protocol": "SASL_SSL", "ssl.ca.location": str(ca), "sasl.mechanism": "SCRAM-SHA-512"}
            login |= {"sasl.username": "admin", "sasl.password": PASSWORD, "bootstrap.servers": kafka.bootstrap_servers}
            producer = Producer(login)
            producer.produce("secured.events", "7", "c", 1)
            producer.flush(20)
            until(worker, lambda: worker.judge().total == 7)
            assert worker.end() == 0
        finally:
            worker.kill()
    text = worker.log.read_text()
    assert PASSWORD not in text
    assert "a-wrong-word" not in text
