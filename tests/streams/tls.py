"""Certificates for brokers that want TLS, and Kafka clients that log in."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parts import unavailable


@dataclass(frozen=True)
class Certificates:
    """Files: the authority (self-signed, names IP 127.0.0.1), and key with certificate."""

    ca: Path
    keystore: Path


def certificates(folder: Path) -> Certificates:
    """Made with openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        unavailable("The program openssl", "Install it, for example with `apt-get install openssl`.")
    key, ca, keystore = folder / "key.pem", folder / "ca.pem", folder / "keystore.pem"
    request = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {ca}"
    subprocess.run([openssl, *request.split()], check=True, capture_output=True)
    keystore.write_text(key.read_text() + ca.read_text())
    return Certificates(ca, keystore)


def login(ca: Path, user: str, password: str) -> dict[str, Any]:
    """librdkafka's options."""
    options = {"security.protocol": "SASL_SSL", "ssl.ca.location": str(ca), "sasl.mechanism": "SCRAM-SHA-512"}
    return options | {"sasl.username": user, "sasl.password": password}
