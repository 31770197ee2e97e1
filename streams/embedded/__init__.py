"""The real engines, started for you: Apache Kafka and Alertmanager for the demo, laptops and tests.

Nothing here is used by a production deployment, which is given the addresses of its own Kafka and Alertmanager.
Linux and macOS; on Windows use WSL.
"""


class MissingPartError(RuntimeError):
    """A part that cannot be shipped in a wheel is absent here; the message says how to get it or how to do without."""
