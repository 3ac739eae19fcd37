"""How a machine is set up by whoever runs it: clock, power limit, host, and what PyTorch is told to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from estimator.base.errors import HardwareError
from estimator.base.facts import Assumption, Fact
from estimator.energy.columns import OpClass
from estimator.energy.model import CONVOLUTIONS, EnergyModel
from estimator.hardware.profile import HardwareProfile

LIMIT, HOST, TF32, LOOP = "--power-limit", "--host", "--tf32", "--optimizer-loop"

LEAST_LIMIT = 0.25
"""Of a board's own power limit: drivers allow no lower one (nvidia-smi's "Min Power Limit" is 100 of 250 to 400 W)."""

_LAUNCHES = "eager loops of launches on published machines, microseconds an op"
HOSTS: Mapping[str, Fact] = {
    "desktop": Fact(7e-6, "s", f"{_LAUNCHES}: a desktop's", "published"),
    "server": Fact(13.4e-6, "s", f"{_LAUNCHES}: servers' 10 to 18, their geometric mean", "published"),
    "slow": Fact(25.4e-6, "s", f"{_LAUNCHES}: slow hosts' 19 to 34, their geometric mean", "published"),
}
"""Seconds in which a host launches an op, by the names of `--host`."""

HOST_SPREAD = 0.18
"""Of the logarithm of a named host's: log(18 / 10) / (2 x 1.645), the range of servers taken as their 90% interval."""

TF32_CLASSES: Mapping[str, tuple[OpClass, ...]] = {
    "none": (),
    "convolutions": CONVOLUTIONS,
    "matmul": (*CONVOLUTIONS, "matmul", "attention"),
}
"""Classes of float32 ops that run in TF32, by the names of `--tf32`: `torch.backends.cudnn.allow_tf32` alone (PyTorch's
default), with `torch.backends.cuda.matmul.allow_tf32` too, or neither."""

LOOPS = ("foreach", "single", "fused")
"""How an optimizer goes over parameters (torch.optim): many a kernel, one by one, or all of its step in one kernel."""


@dataclass(frozen=True)
class Settings:
    """What the user says of how the machine is set up; None: as it is by itself.

    `clock_hz`: where the clock is locked; `limit_w`: a power limit below the board's own; `host` of `HOSTS`, `tf32` of
    `TF32_CLASSES`, `optimizer_loop` of `LOOPS`.
    """

    clock_hz: float | None = None
    limit_w: float | None = None
    host: str | None = None
    tf32: str | None = None
    optimizer_loop: str | None = None


AS_IT_IS = Settings()


def as_set(profile: HardwareProfile, settings: Settings) -> HardwareProfile:
    """The same machine, set up as `settings` say; its clock is set where a profile is made from a device.

    Raises `HardwareError` where the machine cannot be set so.
    """
    model = profile.model
    for flag, given in ((HOST, settings.host), (TF32, settings.tf32), (LOOP, settings.optimizer_loop)):
        if given is not None and profile.calibrated:
            raise HardwareError(
                f"{profile.title} was calibrated with its own host and PyTorch's defaults: leave {flag} away, or name "
                "the device."
            )
    if settings.host is not None:
        model = _on_host(profile, settings.host)
    if settings.tf32 is not None:
        if settings.tf32 == "matmul" and "tf32" not in model.rates.energy_per_flop_j:
            raise HardwareError(f"{profile.title} has no TF32: leave {TF32} away.")
        model = replace(model, rates=replace(model.rates, tf32=TF32_CLASSES[settings.tf32]))
    if settings.optimizer_loop == "single":
        model = replace(model, launching=replace(model.launching, tensors_per_optimizer_launch=1))
    profile = replace(profile, model=model)
    return profile if settings.limit_w is None else _limited(profile, settings.limit_w)


def _on_host(profile: HardwareProfile, host: str) -> EnergyModel:
    model, launching = profile.model, profile.model.launching
    if not model.asynchronous:
        raise HardwareError(f"{profile.title} is its own host: {HOST} is of a GPU. Leave it away.")
    slower = HOSTS[host].value / launching.launch_s
    launching = replace(launching, launch_s=slower * launching.launch_s, module_call_s=slower * launching.module_call_s)
    return replace(model, launching=launching, spreads=replace(model.spreads, launch=HOST_SPREAD))


def _limited(profile: HardwareProfile, limit_w: float) -> HardwareProfile:
    """Set to a power limit in W, at least `LEAST_LIMIT` of its board's own."""
    power = profile.model.power
    if power.governor.lowest >= 1 or math.isinf(power.limit_w):
        why = "it was calibrated at its own" if profile.calibrated else "only a GPU has one that can be set"
        raise HardwareError(f"{profile.title} takes no {LIMIT} ({why}); leave it away.")
    least_w = max(LEAST_LIMIT * power.limit_w, power.static_w)
    if not least_w < limit_w <= power.limit_w:
        raise HardwareError(
            f"{LIMIT} of {profile.title} goes from {least_w:.0f} W to its board's own {power.limit_w:g} W; "
            f"{limit_w:g} does not."
        )
    return replace(profile, limited=True, model=replace(profile.model, power=replace(power, limit_w=limit_w)))


def said(profile: HardwareProfile, settings: Settings) -> Iterator[Assumption]:
    """What is set up, or left as it is by itself, of a machine that could be set up otherwise."""
    if profile.limited:
        yield Assumption("power limit", profile.model.power.limit_w, "W", "given", LIMIT, LIMIT)
    if profile.calibrated or not profile.model.asynchronous:
        return
    launch_us = 1e6 * profile.model.launching.launch_s
    if settings.host is not None:
        yield Assumption("host", settings.host, "", "given", f"{HOST}; {launch_us:.3g} us an op", HOST)
    else:
        why = f"{launch_us:.3g} us an op, as those of the published machines; a desktop takes about 7, a slow one 25"
        yield Assumption("host", "middling", "", "default", why, HOST)
    if "tf32" in profile.model.rates.energy_per_flop_j:
        why = "PyTorch's default for products and convolutions in float32"
        given = settings.tf32 is not None
        yield Assumption(
            "tf32", settings.tf32 or "convolutions", "", "given" if given else "default", TF32 if given else why, TF32
        )
    if settings.optimizer_loop is not None:
        yield Assumption("optimizer loop", settings.optimizer_loop, "", "given", LOOP, LOOP)
