"""SASL_SSL for the embedded Kafka, to try the settings of a secured cluster without having one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_SCRAM = "SCRAM-SHA-512"


@dataclass(frozen=True)
class Security:
    """TLS with SCRAM-SHA-512 users, and ACLs that deny by default.

    Not for production: the passwords reach the formatting tool as arguments (visible to this machine's users for a second),
    and the controller's port speaks plaintext on the loopback interface.

    Attributes:
        keystore: PEM with the private key (PKCS#8) and its certificate chain; the certificate must name IP 127.0.0.1.
        ca: PEM of the authority that signed it.
        users: passwords by user name.
        admin: the user that may do everything, also the brokers' own; must be among `users`.
    """

    keystore: Path
    ca: Path
    users: Mapping[str, str] = field(repr=False)
    admin: str = "admin"

    def __post_init__(self) -> None:
        if self.admin not in self.users:
            raise ValueError(f"admin must be one of the users {sorted(self.users)}, got {self.admin!r}")
        for name, word in self.users.items():
            if not name or not word or set(name + word) & set('[],="\\\n; '):
                raise ValueError(f'user {name!r}: name and password must not be empty nor contain any of [ ] , = " \\ ; or blanks')

    def properties(self) -> dict[str, str]:
        """The broker's settings."""
        login = "org.apache.kafka.common.security.scram.ScramLoginModule"
        return {
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": _SCRAM,
            "sasl.mechanism.inter.broker.protocol": _SCRAM,
            f"listener.name.sasl_ssl.{_SCRAM.lower()}.sasl.jaas.config": (
                f'{login} required username="{self.admin}" password="{self.users[self.admin]}";'
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{self.admin};User:ANONYMOUS",  # ANONYMOUS: the controllers among themselves
        }

    def format_arguments(self) -> list[str]:
        """Arguments of the formatting tool that make the users."""
        return [part for name, word in self.users.items() for part in ("--add-scram", f"{_SCRAM}=[name={name},password={word}]")]
