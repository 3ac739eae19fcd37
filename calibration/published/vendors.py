"""How far a GPU of another vendor than the fit's is missed, and what of their peaks Apple's chips reach.

Totals are judged, not single operations: a network is a sum of them. Each device's is one draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scipy.stats import t as student_t

from calibration.learning.spreads import Z
from calibration.published.coefficients import Model, predictions
from calibration.published.left_out import HeldOut
from calibration.published.rows import Row
from estimator.base.facts import Fact

SOURCES = (
    "sitar-lab/NeuSight (MI100, left out of the fit), AMD-AGI/TraceLens (MI300X), TristanBilot/mlx-benchmark (M1, M1 "
    "Max and M2 Ultra through PyTorch's mps), MIT"
)


def total_error(predicted_s: Sequence[float], measured_s: Sequence[float]) -> float:
    """log(predicted / measured) of the sum."""
    return math.log(math.fsum(predicted_s) / math.fsum(measured_s))


def spread_of_few(draws: Sequence[float]) -> float:
    """The spread of another draw about 0, of which these few are known (Student's t)."""
    square = math.fsum(x * x for x in draws) / len(draws)
    return float(student_t.ppf(0.95, len(draws))) / Z * math.sqrt(square)


def _totals(rows: Sequence[Row], model: Model) -> dict[str, float]:
    _, seconds = predictions(rows, model)
    by: dict[str, tuple[list[float], list[float]]] = {}
    for row, predicted in zip(rows, seconds.tolist(), strict=True):
        if row.duration_s is not None:
            found = by.setdefault(row.device, ([], []))
            found[0].append(predicted)
            found[1].append(row.duration_s)
    return {device: total_error(*of) for device, of in by.items()}


def vendor_facts(model: Model, others: Sequence[Row], held: Sequence[HeldOut]) -> Mapping[str, Fact]:
    """`apple_share`, and a spread for each vendor, to be added to those of a device that nobody measured.

    `model`: as fitted; `others`: rows of other vendors that it has not seen; `held`: rows of devices left out.
    """
    totals = _totals(others, model)
    apple = [error for device, error in totals.items() if device.startswith("apple")]
    amd = [error for device, error in totals.items() if device.startswith("amd")]
    left_out = [h for h in held if h.row.device.startswith("amd") and h.row.duration_s is not None]
    if left_out:
        amd.append(total_error([h.duration_s for h in left_out], [h.row.duration_s or 0.0 for h in left_out]))
    if not apple or not amd:
        return {}
    mean = math.fsum(apple) / len(apple)
    without = [(math.fsum(apple) - error) / (len(apple) - 1) for error in apple] if len(apple) > 1 else [0.0]
    of_apple = [error - rest for error, rest in zip(apple, without, strict=True)]
    why = f"what totals of single operations are missed by, a device one draw of few (Student's t); {SOURCES}"
    return {
        "apple_share": Fact(
            math.exp(mean), "1", f"measured over predicted speed of three chips; {SOURCES}", "published"
        ),
        "amd_spread": Fact(spread_of_few(amd), "1", why, "published"),
        "apple_spread": Fact(spread_of_few(of_apple), "1", why, "published"),
        "intel_spread": Fact(spread_of_few(amd), "1", "no row of its GPUs: as AMD's", "derived"),
    }
