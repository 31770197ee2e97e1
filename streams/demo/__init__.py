"""The demo: a real model on real data, ordinary clients, then a real attack and a drift, through the whole installation."""


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and what to do."""


def missing(error: ImportError) -> DemoError:
    """What to tell somebody who lacks a package."""
    return DemoError(f"The demo needs the package {error.name}, which is not installed. In the checkout: `uv sync --all-extras`.")
