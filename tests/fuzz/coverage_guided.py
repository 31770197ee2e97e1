"""One target under atheris: inputs that reach new lines are kept and damaged further. Needs `pip install atheris` (no part of `dev`:
it has wheels for few Pythons). ``python -m tests.fuzz.coverage_guided TARGET [libFuzzer options, such as -runs=100000]``.
"""

from __future__ import annotations

import random
import sys


def main() -> None:
    """See the module; libFuzzer ends the process."""
    import atheris  # here: only who runs this needs it

    with atheris.instrument_imports(include=["inferwatch", "schemas"]):
        from tests.fuzz.targets import targets

    target = next(one for name, one in targets().items() if sys.argv[1] in name)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        """Ours on a sound example or on what libFuzzer kept, in turn with libFuzzer's own."""
        draw = random.Random(seed)
        if draw.random() < 0.3:
            return bytes(atheris.Mutate(data, max_size))
        blob = data if len(data) > 8 and draw.random() < 0.7 else draw.choice(target.seeds)
        return target.mutate(draw, blob, target.seeds)[:max_size]

    atheris.Setup([sys.argv[0], "-max_len=100000", "-rss_limit_mb=2048", "-timeout=10", *sys.argv[2:]], target.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
