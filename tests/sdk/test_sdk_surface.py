"""What another team sees: few names, few imports, none of ours in the way of theirs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import inferwatch


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_lists_exactly_what_is_imported_sorted() -> None:
    assert inferwatch.__file__ is not None
    tree = ast.parse(Path(inferwatch.__file__).read_text(encoding="utf-8"))
    imported = {alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(inferwatch.__all__) == imported
    constants = [name for name in inferwatch.__all__ if name.isupper()]
    assert inferwatch.__all__ == sorted(constants) + sorted(set(inferwatch.__all__) - set(constants))


def test_every_module_is_private_but_the_two_integrations() -> None:
    assert inferwatch.__file__ is not None
    assert {path.stem for path in Path(inferwatch.__file__).parent.glob("[!_]*.py")} == {"fastapi", "sklearn"}


def test_importing_loads_numpy_and_msgspec_and_nothing_heavier() -> None:
    show = "import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    ours = set(json.loads(python(f"import inferwatch; {show}")))
    theirs = set(json.loads(python(f"import numpy, msgspec; {show}")))
    assert ours - theirs - sys.stdlib_module_names == {"inferwatch"}  # confluent_kafka waits for the first record


def test_it_works_with_its_three_dependencies_only() -> None:
    code = """
import sys
allowed = {"inferwatch", "numpy", "msgspec", "confluent_kafka"}
class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in allowed and top not in sys.stdlib_module_names:
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
from inferwatch import Client, KafkaTransport, MemoryTransport
KafkaTransport("127.0.0.1:1", {"message.timeout.ms": 1000})
transport = MemoryTransport()
with Client(service="s", transport=transport, pseudonym_key="k" * 16, strict=True) as watch:
    assert watch.record(model="m", version="1", features={"x": 1.0})
assert len(transport.events()) == 1
print("fine")
"""
    assert python(code) == "fine\n"


def test_the_key_is_never_printed() -> None:
    watch = inferwatch.Client(service="s", transport=inferwatch.MemoryTransport(), pseudonym_key="very-secret-key-1")
    assert "secret" not in repr(watch) + repr(watch._settings) + repr(vars(watch))
