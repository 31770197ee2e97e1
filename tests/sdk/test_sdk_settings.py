"""Construction is the one place that raises, and it says what to do."""

import re
from typing import Any

import pytest

from inferwatch import Client, KafkaTransport, MemoryTransport
from tests.sdk.helpers import KEY


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"service": ""}, "service is missing: pass service=..., or set INFERWATCH_SERVICE"),
        ({"service": "s" * 300}, "service must be text of 1 to 256 characters"),
        ({"instance": "i" * 300}, "instance must be text of 1 to 256 characters"),
        ({"pseudonym_key": "short"}, "pseudonym_key must have at least 16 bytes, got 5; make one: python -c"),
        ({"previous_pseudonym_key": "short"}, "previous_pseudonym_key must have at least 16 bytes, got 5; make one: python -c"),
        ({"previous_pseudonym_key": KEY}, "previous_pseudonym_key is the pseudonym_key: give the key that was used before"),
        ({"topic_prefix": "a b"}, "topic_prefix must be 1 to 200 of a-z A-Z 0-9 . _ -, got 'a b'"),
        ({"partitions": 0}, "partitions must be 1 to 1000, got 0"),
        ({"queue_max_events": 0}, "queue_max_events must be 1 to 100000000, got 0"),
        ({"queue_max_bytes": 1}, "queue_max_bytes must be 1000 to"),
        ({"flush_age_s": 0}, "flush_age_s must be 0.001 to 60, got 0"),
        ({"flush_age_s": float("nan")}, "flush_age_s must be 0.001 to 60, got nan"),
        ({"flush_events": 10_001}, "flush_events must be 1 to 10000, got 10001"),
        ({"flush_bytes": 900_000}, "flush_bytes must be 1000 to 500000, got 900000"),
        ({"heartbeat_s": 0}, "heartbeat_s must be 0.01 to 3600, got 0"),
        ({"close_timeout_s": -1}, "close_timeout_s must be 0 to 3600, got -1"),
        ({"allow": "amount"}, "allow must be a list of feature names"),
        ({"redact": [1]}, "redact must be a list of feature names"),
        ({"bootstrap_servers": "k:9092"}, "transport= replaces Kafka"),
    ],
)
def test_nonsense_is_refused_with_the_range(settings: dict[str, Any], message: str) -> None:
    defaults: dict[str, Any] = {"service": "s", "transport": MemoryTransport(), "pseudonym_key": KEY, "environment": {}}
    with pytest.raises(ValueError, match=re.escape(message)):
        Client(**defaults | settings)


def test_without_a_broker_it_says_where_to_name_one() -> None:
    with pytest.raises(ValueError, match="bootstrap_servers is missing: pass 'host:9092', or set INFERWATCH_BOOTSTRAP_SERVERS"):
        Client(service="s", pseudonym_key=KEY, environment={})


def test_the_environment_names_service_broker_and_key() -> None:
    environment = {"INFERWATCH_SERVICE": "s", "INFERWATCH_BOOTSTRAP_SERVERS": "127.0.0.1:1", "INFERWATCH_PSEUDONYM_KEY": KEY}
    watch = Client(environment=environment)
    same = Client(service="other", transport=MemoryTransport(), pseudonym_key=KEY)
    assert repr(watch).startswith("Client(service='s'")
    assert watch.pseudonym("x") == same.pseudonym("x")


def test_a_misspelt_kafka_option_is_an_error_at_construction() -> None:
    with pytest.raises(ValueError, match=r"Kafka options refused: .*secruity\.protocol"):
        KafkaTransport("127.0.0.1:1", {"secruity.protocol": "SSL"})


def test_a_password_among_the_options_is_not_printed() -> None:
    options = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "pass" + "word"}
    assert "password" not in repr(KafkaTransport("127.0.0.1:1", options))


def test_after_a_new_key_a_client_is_found_under_both_names_and_sent_under_the_new_one() -> None:
    old = Client(service="s", transport=MemoryTransport(), pseudonym_key=KEY)
    environment = {"INFERWATCH_PSEUDONYM_KEY": "another key of the tests", "INFERWATCH_PSEUDONYM_KEY_PREVIOUS": KEY}
    transport = MemoryTransport()
    with Client(service="s", transport=transport, environment=environment) as new:
        assert new.pseudonyms("alice") == (new.pseudonym("alice"), old.pseudonym("alice"))
        assert old.pseudonyms("alice") == (old.pseudonym("alice"),)
        assert new.pseudonym("alice") != old.pseudonym("alice")
        new.record(model="m", version="1", client="alice")
    assert [event["client"] for event in transport.events()] == [new.pseudonym("alice")]
