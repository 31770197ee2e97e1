"""The gauge against the attack that an independent implementation measures, on models that were fitted too closely and on others."""

import warnings
from typing import Any

import numpy as np
import pytest

from detectors.membership.gauge import MembershipGauge, clopper_pearson

pytest.importorskip("art", reason="needs the extra demo")
pytest.importorskip("sklearn", reason="needs the extra demo")


def models() -> dict[str, Any]:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    return {
        "logistic": LogisticRegression(max_iter=500),
        "shallow forest": RandomForestClassifier(60, max_depth=4, random_state=0),
        "boosting": GradientBoostingClassifier(n_estimators=60, max_depth=5, random_state=0),
        "deep forest": RandomForestClassifier(60, random_state=0),
        "nearest": KNeighborsClassifier(3),
    }


OVERFIT = {"boosting", "deep forest", "nearest"}


def art_attack(model: Any, train: Any, held_out: Any, seed: int) -> tuple[float, float, float]:
    """Balanced accuracy of ART's black-box attack (boosted trees on answer and class; judged on the other half), and its 95 % interval."""
    from art.attacks.inference.membership_inference import MembershipInferenceBlackBox
    from art.estimators.classification.scikitlearn import SklearnClassifier

    (X, y), (V, w) = train, held_out
    attack = MembershipInferenceBlackBox(SklearnClassifier(model), attack_model_type="gb", input_type="prediction")
    np.random.seed(seed)  # noqa: NPY002 - ART draws from the global generator
    half = len(X) // 2
    attack.fit(X[:half], y[:half], V[:half], w[:half])
    found, kept = int(attack.infer(X[half:], y[half:]).sum()), int((attack.infer(V[half:], w[half:]) == 0).sum())
    n, m = len(X) - half, len(V) - half
    (a, b), (c, d) = clopper_pearson(found, n, 0.975), clopper_pearson(kept, m, 0.975)
    return (found / n + kept / m) / 2, (a + c) / 2, (b + d) / 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_gauge_agrees_with_arts_measured_attack_and_tells_overfit_models(seed: int) -> None:
    from sklearn.datasets import make_classification

    X, y = make_classification(6000, 20, n_informative=8, flip_y=0.15, class_sep=0.8, random_state=seed)
    X = X.astype(np.float32)
    train, held_out = (X[:3000], y[:3000]), (X[3000:], y[3000:])
    member = np.arange(6000) < 3000
    gauges, measured = {}, {}
    for name, model in models().items():
        model.fit(*train)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            measured[name] = art_attack(model, train, held_out, seed)
        report = MembershipGauge.fit(model.predict_proba(X), y, member).report()
        assert report.balanced_accuracy is not None
        gauges[name] = report.balanced_accuracy
    for name, gauge in gauges.items():
        value, low, high = measured[name]
        # ART's own figure is an estimate too, from half of the rows: the intervals must overlap, and the values be near
        assert gauge.low <= high, name
        assert low <= gauge.high, name
        assert abs(gauge.value - value) < 0.03, name
        assert (gauge.low > 0.5) == (name in OVERFIT), name
    assert max(gauges, key=lambda name: gauges[name].value) == max(measured, key=lambda name: measured[name][0])
