"""Predictions for published rows by coefficients that have not seen them, with intervals from held-out errors alone.

Two splits: a network (of torchvision: a family) left out of everything, the device-independent coefficients included;
and a whole device left out. A row's interval comes from the held-out errors of the OTHER networks, or devices
(cross-conformal prediction; Vovk 2015, and Barber et al. 2021 for the sets that are left out in turn). Devices are few:
`spread_of_devices` says what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t as student_t

from calibration.proof.accuracy import Case, Target
from calibration.proof.baselines import BASELINES, THETA, linear, theta_of
from calibration.published.coefficients import COEFFICIENTS, DeviceKind, fit, kind_of, machines, predictions
from calibration.published.rows import Row
from estimator.energy.uncertainty import CONFIDENCE, log_normal
from estimator.hardware import catalogue
from estimator.hardware.datasheet import profile_of

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


NETWORK, FAMILY = "network left out", "family left out"
TARGETS: tuple[Target, ...] = ("energy", "duration")


def measured(row: Row, target: Target) -> float | None:
    """What was measured, in J or s; None where nobody did."""
    return row.energy_j if target == "energy" else row.duration_s


@dataclass(frozen=True)
class HeldOut:
    """A row and what was predicted for it by coefficients that had not seen it; `group` was left out with it."""

    row: Row
    group: str
    energy_j: float
    duration_s: float

    def value(self, target: Target) -> float:
        """What was predicted."""
        return self.energy_j if target == "energy" else self.duration_s

    def measured(self, target: Target) -> float | None:
        """What was measured; None where nobody did."""
        return measured(self.row, target)

    def log_error(self, target: Target) -> float | None:
        """log(predicted / measured)."""
        truth = measured(self.row, target)
        return None if truth is None else float(np.log(self.value(target) / truth))


def errors_by_device(held: Iterable[HeldOut], target: Target) -> list[list[float]]:
    """The log errors of each device's rows."""
    by: dict[str, list[HeldOut]] = {}
    for h in held:
        by.setdefault(h.row.device, []).append(h)
    return [errors(of, target) for of in by.values()]


def _held_out(rows: Sequence[Row], groups: Sequence[str], model: dict[str, float], group: str) -> Iterator[HeldOut]:
    unseen = [row for row, of in zip(rows, groups, strict=True) if of == group]
    for row, joules, seconds in zip(unseen, *predictions(unseen, model), strict=True):
        yield HeldOut(row, group, float(joules), float(seconds))


def networks_left_out(rows: Sequence[Row], kind: DeviceKind) -> list[HeldOut]:
    """Each machine's rows of each network, predicted by its other networks; the prior has not seen that one either."""
    found: list[HeldOut] = []
    for network in dict.fromkeys(row.network for row in rows):
        seen = [row for row in rows if row.network != network]
        prior = fit(seen, kind)
        for device in dict.fromkeys(row.device for row in rows if row.network == network):
            own = [row for row in seen if row.device == device]
            mine = [row for row in rows if row.device == device]
            model = fit(own, kind, prior) if own else prior
            found += _held_out(mine, [row.network for row in mine], model, network)
    return found


def devices_left_out(rows: Sequence[Row], kind: DeviceKind) -> list[HeldOut]:
    """Each device's rows, predicted by the device-independent coefficients of the other devices."""
    found: list[HeldOut] = []
    devices = [row.device for row in rows]
    for device in dict.fromkeys(devices) if len(set(devices)) > 1 else ():
        model = fit([row for row in rows if row.device != device], kind)
        found += _held_out(rows, devices, model, device)
    return found


def errors(held: Iterable[HeldOut], target: Target) -> list[float]:
    """The log errors of those whose `target` was measured."""
    return [error for error in (h.log_error(target) for h in held) if error is not None]


@dataclass(frozen=True)
class _Split:
    """How rows were left out: what else of them counts for a row's interval, and what a baseline may be fitted on."""

    name: str
    held: Sequence[HeldOut]
    spread: Callable[[Sequence[HeldOut], Target], float]
    relevant: Callable[[HeldOut, HeldOut], bool]
    seen: Callable[[HeldOut, Row], bool]


def dataset_of(row: Row) -> str:
    """Machine and phase, in words."""
    return f"{catalogue.find(row.device).title} {row.phase}"


def _case(h: HeldOut, target: Target, split: str, method: str, predicted: float, spread: float | None = None) -> Case:
    interval = None if spread is None else log_normal(predicted, spread)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return Case(dataset_of(h.row), target, split, method, h.measured(target) or 0.0, predicted, low, high)


def _ours(split: _Split, known: Sequence[HeldOut], target: Target) -> Iterator[Case]:
    for h in known:
        spread = split.spread([o for o in split.held if split.relevant(h, o)], target)
        yield _case(h, target, split.name, "joulecast", h.value(target), spread)


def _theirs(split: _Split, known: Sequence[HeldOut], target: Target, rows: Sequence[Row]) -> Iterator[Case]:
    for method, features in BASELINES.items():
        for h in known:
            seen = [row for row in rows if split.seen(h, row) and measured(row, target)]
            if seen:
                costs = np.array([measured(row, target) for row in seen])
                yield _case(h, target, split.name, method, float(linear(seen, costs, [h.row], features)[0]))
    for h in known:
        fivefold = theta_of(h.row, rows) if target == "energy" and h.row.phase == "training" else None
        if fivefold is not None:
            yield _case(h, target, split.name, f"theta = {THETA:g}", fivefold)


def _cases(split: _Split, rows: Sequence[Row]) -> Iterator[Case]:
    for dataset in dict.fromkeys(dataset_of(h.row) for h in split.held):
        for target in TARGETS:
            known = [h for h in split.held if dataset_of(h.row) == dataset and h.measured(target) is not None]
            families = split.name == NETWORK and all(h.row.model.startswith("torchvision/") for h in known)
            named = replace(split, name=FAMILY) if families else split
            yield from _ours(named, known, target)
            yield from _theirs(named, known, target, rows)


def cases(rows: Sequence[Row]) -> Iterator[Case]:
    """Ours and the baselines' predictions for all `rows`, in both splits."""
    for kind in COEFFICIENTS:
        of_kind = [row for row in rows if kind_of(row) == kind]
        by_device = devices_left_out(of_kind, kind)
        few = {target: spread_of(errors(by_device, target)) for target in TARGETS}

        def of_networks(held: Sequence[HeldOut], target: Target, few: Mapping[Target, float] = few) -> float:
            return spread_of(errors(held, target), few[target])

        yield from _cases(
            _Split(
                NETWORK,
                networks_left_out(of_kind, kind),
                of_networks,
                lambda h, o: dataset_of(o.row) == dataset_of(h.row) and o.group != h.group,
                lambda h, row: dataset_of(row) == dataset_of(h.row) and row.network != h.group,
            ),
            of_kind,
        )
        yield from _cases(
            _Split(
                "device left out",
                by_device,
                lambda of, target: spread_of_devices(errors_by_device(of, target)),
                lambda h, o: o.group != h.group,
                lambda h, row: row.phase == h.row.phase and row.device != h.group,
            ),
            of_kind,
        )


def shipped(rows: Sequence[Row]) -> Iterator[Case]:
    """Predictions of the profiles as the product ships them: the machine's own, else its spec sheet's."""
    for machine in machines(rows):
        first = machine.rows[0]
        profile = profile_of(catalogue.find(first.device), first.clock_hz)
        split = f"as shipped ({profile.status})"
        joules, seconds = machine.predict_with(profile.model)
        for row, energy, duration in zip(machine.rows, joules, seconds, strict=True):
            h = HeldOut(row, "", float(energy), float(duration))
            spreads = profile.model.spreads
            training = spreads.training if row.phase == "training" else 0.0
            for target in TARGETS:
                spread = math.hypot(getattr(spreads, target), training)
                if h.measured(target) is not None:
                    yield _case(h, target, split, "joulecast", h.value(target), spread)
