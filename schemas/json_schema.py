"""JSON Schema of the messages that anything can send as JSON, generated from the SDK's types.

``python -m schemas.json_schema`` writes them to ``schemas/json``, one file a message; a test fails when they are stale. The schema of
events allows one event or a list of them, as a Kafka record does.
"""

import inspect
import sys
from pathlib import Path
from typing import Any

import msgspec

from inferwatch import Event, Heartbeat, Label, Lifecycle

__all__ = ["DIRECTORY", "json_schemas", "main"]

DIRECTORY = Path(__file__).parent / "json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MESSAGES: dict[str, Any] = {
    "events.v1": Event | list[Event],
    "heartbeat.v1": Heartbeat,
    "label.v1": Label,
    "lifecycle.v1": Lifecycle,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """The schema of each message, by the last part of its CloudEvents type (``inferwatch.events.v1``).

    Unknown fields are allowed: new producers and old servers understand each other. The schema is as strict as the server about types
    and lengths of text; the server also bounds the size of a record and the number of its events and features.

    >>> json_schemas()["label.v1"]["$defs"]["Label"]["required"]
    ['model', 'event_id', 'truth']
    """
    return {name: _schema(name, message) for name, message in _MESSAGES.items()}


def main() -> None:
    """Write the files."""
    DIRECTORY.mkdir(exist_ok=True)
    for name, schema in json_schemas().items():
        path = DIRECTORY / f"{name}.json"
        path.write_bytes(text_of(schema))
        sys.stdout.write(f"{path.name}\n")


def text_of(schema: dict[str, Any]) -> bytes:
    """As the file has it."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def _schema(name: str, message: Any) -> dict[str, Any]:
    schema = msgspec.json.schema(message)
    for definition in schema["$defs"].values():
        if "description" in definition:  # Python 3.13 takes the indentation out of docstrings, 3.11 does not
            definition["description"] = inspect.cleandoc(definition["description"])
        for choice in definition["properties"].get("at", {}).get("anyOf", ()):
            if choice.get("type") == "string":
                choice["format"] = "date-time"  # msgspec says so only of types that refuse times without an offset
    return {"$schema": _DIALECT, "title": f"inferwatch.{name}"} | schema


if __name__ == "__main__":
    main()
