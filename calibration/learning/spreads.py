"""How far predictions of something not seen miss: spreads from held-out errors, by networks and by devices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.stats import t as student_t

from estimator.energy.uncertainty import CONFIDENCE

Z = 1.6448536269514722
"""The standard normal's 95% quantile, by which `estimator.energy.uncertainty` reads a spread."""

FEWEST = 9
"""Fewer held-out errors have no 90% quantile: ceil(0.9 (n + 1)) of n."""


def spread_of(log_errors: Sequence[float], at_least: float = 0.0) -> float:
    """The spread whose 90% interval holds nine in ten of `log_errors`: their conformal quantile, over that of a normal.

    Where they are fewer than `FEWEST`: the largest of them, or `at_least` if that is more.
    """
    sizes = sorted(map(abs, log_errors))
    if len(sizes) < FEWEST:
        return max([at_least, *(size / Z for size in sizes)])
    return sizes[math.ceil(CONFIDENCE * (len(sizes) + 1)) - 1] / Z


def spread_of_devices(by_device: Iterable[Sequence[float]]) -> float:
    """The spread for a device that was not seen, of the log errors of others, each left out of its own prediction.

    Rows of one device share its error, so that devices, not rows, are the draws: their mean errors are normal about 0,
    of a variance that so few devices hardly tell (Student's t with as many degrees of freedom as devices). The rows'
    errors about their device's mean come on top, as independent ones.
    """
    known = [np.array(of) for of in by_device if len(of)]
    means = np.array([of.mean() for of in known])
    about = np.concatenate([of - mean for of, mean in zip(known, means, strict=True)])
    device = float(student_t.ppf((1 + CONFIDENCE) / 2, len(known))) / Z * float(np.sqrt(np.mean(means**2)))
    return math.hypot(device, spread_of(about.tolist()))
