"""A nightly job that scores a table with a scikit-learn pipeline, recorded row by row.

pip install inferwatch scikit-learn pandas
INFERWATCH_SERVICE=nightly INFERWATCH_BOOTSTRAP_SERVERS=localhost:29092 python examples/sklearn_batch.py
"""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from inferwatch import Client
from inferwatch.sklearn import watch


def customers(n: int, seed: int) -> pd.DataFrame:
    """Rows as a database would give them."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"customer": [f"c{i}" for i in range(n)], "amount": rng.exponential(200, n), "country": rng.choice(["NO", "SE", "DK"], n)}
    )


def main() -> None:
    """Trains, scores, and says what was sent."""
    past, tonight = customers(2_000, seed=1), customers(500, seed=2)
    columns = ["amount", "country"]
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["country"]), remainder="passthrough"), RandomForestClassifier(20, random_state=1)
    ).fit(past[columns], np.where(past["amount"] > 400, "high", "low"))

    with Client() as client:  # service and brokers come from the environment; leaving the block sends what waits
        watched = watch(pipeline, client, model="spending", version="3")
        answers = watched.asked_by(tonight["customer"].tolist()).predict_proba(tonight[columns])
        client.flush()
        print(f"{len(answers)} rows scored, {client.stats().sent} events sent")  # noqa: T201  # a script's last word


if __name__ == "__main__":
    main()
