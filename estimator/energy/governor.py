"""A GPU's governor: where a phase would draw more than the limit, the clock falls, and the voltage with it.

    V(f)     = 1 below the knee, rising linearly above it to 1 + rise at the boost clock (f = 1)
    time     = what waits for memory and launches + what follows the clock / f
    power(f) = static + (active x f V^2 + joules of arithmetic x V^2 + joules of bytes) / time(f), V over that at f = 1
    the clock = the highest f at which power(f) is within the limit; at the lowest f the device waits

Dynamic power goes as f V^2 (CMOS; Mei, Wang and Chu 2017, "A survey and measurement study of GPU DVFS", section 2). A
governor averages over more than a kernel, so that it is the phase whose power counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_HALVINGS = 32
"""Of the range of clocks: to 2e-10 of the boost clock, so that more work never takes less by a rounding."""


@dataclass(frozen=True)
class Governor:
    """How the voltage follows the clock, as shares of the boost clock.

    `knee`: the clock below which the voltage is flat; `rise`: by how much it is higher at the boost clock; `clock`: the
    highest clock allowed (below 1 where it is locked); `lowest`: the lowest one that a power limit leads to, a round
    figure that no row tells.
    """

    knee: float
    rise: float
    clock: float = 1.0
    lowest: float = 0.25

    def energy_share(self, clock: Floats | float) -> Floats:
        """V(f)^2 over V(1)^2: joules of one operation over those at the boost clock."""
        volts = 1 + self.rise * np.maximum(0.0, (clock - self.knee) / (1 - self.knee))
        share: Floats = np.square(volts / (1 + self.rise))
        return share


WAITING = Governor(knee=0.0, rise=0.0, lowest=1.0)
"""A device whose clock stays: at its limit it waits."""


@dataclass(frozen=True)
class Load:
    """What phases ask of a device at its highest allowed clock, in arrays of one shape.

    `other_s`: seconds that do not follow the clock; `clocked_s`: those that do; `host_s`: of the host, which a phase
    lasts at least; `busy_s`: those in which the device is at work, of which `active_j` is drawn beyond the static power
    `static_w`; `flop_j`, `byte_j`: joules of arithmetic and of traffic.
    """

    other_s: Floats
    clocked_s: Floats
    host_s: Floats
    busy_s: Floats
    active_j: Floats
    flop_j: Floats
    byte_j: Floats
    static_w: float


@dataclass(frozen=True)
class Governed:
    """What becomes of a `Load`: the clock over the highest allowed one, seconds of device and phase, and joules.

    `device_s` holds what the device waits at its lowest clock, where it would draw too much even there. `active_j` and
    `flop_j` as at that clock.
    """

    clock: Floats
    device_s: Floats
    active_j: Floats
    flop_j: Floats


def _at(load: Load, governor: Governor, clock: Floats) -> tuple[Floats, Floats, Floats]:
    """(device seconds, active joules, joules of arithmetic) at `clock`, over the highest allowed one."""
    volts = governor.energy_share(clock * governor.clock) / governor.energy_share(governor.clock)
    longer_s = load.clocked_s * (1 / clock - 1)
    busier = 1 + longer_s / np.maximum(load.busy_s, 1e-300) * (load.busy_s > 0)
    return load.other_s + load.clocked_s + longer_s, load.active_j * busier * clock * volts, load.flop_j * volts


def _joules_too_many(load: Load, governor: Governor, clock: Floats, limit_w: float) -> Floats:
    device_s, active_j, flop_j = _at(load, governor, clock)
    allowed_w = limit_w - load.static_w
    too_many: Floats = active_j + flop_j + load.byte_j - allowed_w * np.maximum(device_s, load.host_s)
    return too_many


def governed(load: Load, governor: Governor, limit_w: float) -> Governed:
    """`load` at the highest clock that keeps it within `limit_w`, found by halving: power grows with the clock."""
    high = np.ones_like(load.clocked_s)
    if math.isinf(limit_w) or not (above := _joules_too_many(load, governor, high, limit_w) > 0).any():
        return Governed(high, *_at(load, governor, high))
    low = np.where(above, min(1.0, governor.lowest / governor.clock), 1.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = _joules_too_many(load, governor, middle, limit_w) <= 0
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    clock = np.where(above, low, 1.0)
    device_s, active_j, flop_j = _at(load, governor, clock)
    too_many_j = np.where(above, np.maximum(0.0, _joules_too_many(load, governor, clock, limit_w)), 0.0)
    until_s = np.maximum(device_s, load.host_s) + too_many_j / (limit_w - load.static_w)
    return Governed(clock, np.where(too_many_j > 0, until_s, device_s), active_j, flop_j)
