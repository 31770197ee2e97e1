"""Whether the arrays of a stored reference fit each other: the compiled kernels index with them and check nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.evidence import constants as c
from detectors.evidence.calm import NUMBERS
from detectors.state import StateError

MAX_WIDTH = 10_000


def check(body: dict[str, Any]) -> dict[str, Any]:
    """The unpacked fields of an `EvidenceReference`, when kinds, shapes, indices and numbers are what `fit` could have made.

    Raises:
        StateError: naming the first field that is not; KeyError and the like where one is missing (`detectors.state.reading`).
    """
    d = _whole("width", body["width"], 1, MAX_WIDTH)
    _whole("rows", body["rows"], 0, 2**53)
    if not isinstance(body["image"], bool):
        raise StateError("evidence reference: image is neither true nor false")
    targets, curved, fields = (len(body[name]) for name in ("residual_offset", "curved_targets", "sampled"))
    bent = bool(curved)
    expected: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
        "centre": ("<f8", ((d,),)),
        "inverse_scale": ("<f8", ((d,),)),
        "residual_weights": ("<f4", ((targets, d),)),
        "residual_offset": ("<f4", ((targets,),)),
        "curved_targets": ("<i8", ((curved,),)),
        "curved_knots": ("<f4", ((3, d),) if bent else ((0, d), (3, d))),
        "curved_coefficients": ("<f4", ((1 + 4 * d + d * (d + 1) // 2, curved),) if bent else ((0, 0),)),
        "curved_scale": ("<f4", ((curved,),)),
        "projection": ("<f4", ((c.COORDINATES, d),) if d > c.COORDINATES else ((0, d),)),
        "remarkable": ("<f4", ((7, d),)),
        "sampled": ("<i8", ((fields,),)),
        "sampled_low": ("<f8", ((fields,),)),
        "sampled_high": ("<f8", ((fields,),)),
        "sampled_anchor": ("<f8", ((fields,),)),
        "sampled_range": ("<f8", ((fields,),)),
        "coarse": ("|b1", ((fields,),)),
        "occurring": ("|u1", ((fields, 256),)),
        "joint_limits": ("<f8", ((4,),)),
        "joint_rates": ("<f8", ((4,),)),
        "flat_rates": ("<f8", ((3,),)),
        "flip_rates": ("<f8", ((3,),)),
    }
    look, bends = body["look"], len(body["look"].curved)
    many = 1 + 4 * fields + fields * (fields + 1) // 2
    expected |= {f"look.{name}": ("<f8", ((fields,),)) for name in ("step", "zero", "mean", "sd")}
    expected |= {
        "look.precision": ("<f8", ((fields, fields),)),
        "look.curved": ("<i8", ((bends,),)),
        "look.knots": ("<f8", ((3, fields),) if bends else ((0, fields), (3, fields))),
        "look.coefficients": ("<f8", ((many, bends),) if bends else ((0, 0),)),
        "look.scale": ("<f8", ((bends,),)),
        "look.share": ("<f4", ((fields, 256),)),
        "look.trimmed": ("<f8", ((2,),)),
        "look.alone": ("<f8", ((len(c.LOOK_TIED_ROWS),),)),
    }
    expected |= {
        "middle.score": ("<f4", ((fields, 256),)),
        "middle.white": ("<f4", ((fields, fields),)),
        "middle.limits": ("<f8", ((len(c.MIDDLE_QUANTILES),),)),
        "middle.ordinary": ("<f8", ((len(c.MIDDLE_QUANTILES) + 1,),)),
        "middle.excess": ("<f8", ((len(c.MIDDLE_QUANTILES) + 1,),)),
        "calm.white": ("<f8", ((fields, fields),)),
        "calm.weight": ("<f8", ((NUMBERS,),)),
        "calm.limit": ("<f8", ((len(c.CALM_ROWS),),)),
        "bond.weights": ("<f4", ((fields, fields),)),
        "bond.own": ("<f4", ((fields,),)),
    }
    generated, depth = body["generated"].to_dict(), c.GENERATED_DEPTH
    trees = len(generated["feature"])
    expected |= {
        "generated.feature": ("|u1", ((trees, depth),)),
        "generated.threshold": ("|u1", ((trees, depth),)),
        "generated.value": ("<f4", ((trees, 1 << depth),)),
        "generated.rates": ("<f8", ((3,),)),
        "generated.nominal": ("<f8", ((3,),)),
        "generated.composed": ("<f8", ((3,),)),
        "generated.hidden": ("<f8", ((fields, 3),)),
        "generated.usual": ("<f8", ((3,),)),
    }
    for name, (dtype, shapes) in expected.items():
        part, _, field = name.rpartition(".")
        array = generated[field] if part == "generated" else getattr(body[part], field) if part else body[name]
        if not isinstance(array, np.ndarray) or array.dtype.str != dtype or array.shape not in shapes:
            found = f"{array.dtype.str} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise StateError(f"evidence reference: {name} is {found}, expected {dtype} {shapes[0]}")
        if name != "remarkable" and not np.isfinite(array).all():  # there NaN says that nothing is remarkable
            raise StateError(f"evidence reference: {name} is not finite")
    numbers = {name: body[name] for name in ("nearest", "far", "equal_share", "edit_share", "repeated_share", "symmetric_rate")}
    numbers |= {name: body[name] for name in ("fresh_share", "bisection_rate")}
    numbers |= {"look.limit": look.limit, "look.shuffled": look.shuffled}
    bond = body["bond"]
    numbers |= {"smooth_rate": body["smooth_rate"], "smooth_halved": body["smooth_halved"]}
    numbers |= {"bond.factor": bond.factor, "bond.least": bond.least, "bond.rate": bond.rate}
    for name, number in numbers.items():
        if not isinstance(number, (int, float)) or not 0 <= number < 1e300:
            raise StateError(f"evidence reference: {name} is {number!r:.40}, expected a number from 0")
    if not (isinstance(body["smooth_limit"], float) and np.isfinite(body["smooth_limit"])):
        raise StateError(f"evidence reference: smooth_limit is {body['smooth_limit']!r:.40}, expected a finite number")
    if not (1 <= fields <= c.COORDINATES and 1 <= targets <= c.TARGETS and curved <= targets):
        raise StateError(f"evidence reference: {fields} fields, {targets} targets and {curved} curved ones make no sense")
    for name, places, end in (
        ("curved_targets", body["curved_targets"], min(targets, d)),
        ("sampled", body["sampled"], d),
        ("look.curved", look.curved, fields),
    ):
        if np.any((places < 0) | (places >= end)):
            raise StateError(f"evidence reference: {name} points outside 0 to {end - 1}")
    if np.any(generated["feature"] >= 2 * fields) or any(
        np.any((own < 0) | (own > 1)) for own in (generated["nominal"], generated["hidden"], generated["usual"])
    ):
        raise StateError("evidence reference: a tree asks for a column that is not there, or a share is none")
    shares = np.concatenate(
        [body["joint_rates"], [body["smooth_rate"]], body["flip_rates"], generated["rates"], generated["composed"]]
    )  # 1: tolerated always, so that limit is off
    rates = np.concatenate([shares, body["flat_rates"], [body["symmetric_rate"], body["bisection_rate"], bond.rate]])
    shares = np.append(shares, body["smooth_halved"])
    if np.any(body["sampled_range"] <= 0) or np.any(rates <= 0) or np.any(shares > 1):
        raise StateError("evidence reference: a range or rate is out of bounds")
    return body


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise StateError(f"evidence reference: {name} is {value!r:.40}, expected {low} to {high}")
    return value
