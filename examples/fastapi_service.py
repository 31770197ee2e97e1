"""A FastAPI service whose predictions are recorded.

pip install inferwatch fastapi uvicorn scikit-learn
INFERWATCH_SERVICE=checkout INFERWATCH_BOOTSTRAP_SERVERS=localhost:29092 uvicorn examples.fastapi_service:app
curl -H 'x-api-key: alice' -H 'content-type: application/json' -d '{"amount": 950, "age_days": 2}' localhost:8000/predict
"""

from typing import Annotated

import numpy as np
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from sklearn.linear_model import LogisticRegression

from inferwatch import Client
from inferwatch.fastapi import RecordPredictions


def trained() -> LogisticRegression:
    """A model: in earnest it comes out of a file or a registry."""
    rng = np.random.default_rng(7)
    rows = np.column_stack([rng.exponential(200, 5_000), rng.exponential(300, 5_000)])
    return LogisticRegression(max_iter=1_000).fit(rows, np.where(rows[:, 0] > 2 * rows[:, 1], "fraud", "ok"))


class Order(BaseModel):
    """What is asked."""

    amount: float
    age_days: float


class Answer(BaseModel):
    """What is answered; the middleware reads fields of these names."""

    prediction: str
    scores: dict[str, float]


def known(x_api_key: Annotated[str, Header()] = "") -> str:
    """Who asks; the middleware records who was turned away."""
    if not x_api_key:
        raise HTTPException(401, "send your key as x-api-key")
    return x_api_key


model = trained()
app = FastAPI()
watch = Client(allow=["amount", "age_days"])  # service and brokers come from the environment
app.add_middleware(RecordPredictions, watch=watch, model="fraud", version="7", client="x-api-key", paths=["/predict"])


@app.post("/predict")
def predict(order: Order, key: Annotated[str, Depends(known)]) -> Answer:
    """One answer."""
    scores = model.predict_proba(np.array([[order.amount, order.age_days]]))[0]
    classes = model.classes_.tolist()
    return Answer(prediction=classes[scores.argmax()], scores=dict(zip(classes, scores.tolist(), strict=True)))
