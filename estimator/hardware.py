"""The hardware profile: what a machine's joules and seconds are made of, and the one made from a spec sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from statistics import stdev
from types import MappingProxyType
from typing import Literal

from estimator.catalogue import Device, catalogue
from estimator.errors import HardwareError
from estimator.facts import Fact
from estimator.packaged import own_table
from estimator.workload import CONTRACTIONS, Kind

ProfileStatus = Literal["calibrated", "published", "datasheet", "generic"]
Rate = Literal["float32", "tf32", "bfloat16", "float16", "vector"]
_PRICED_AS: Mapping[Kind, Kind] = {"rnn": "matmul"}  # a recurrent step is matrix products; its launches are its own
_NARROW: tuple[Rate, ...] = ("tf32", "bfloat16", "float16")


@dataclass(frozen=True)
class HardwareProfile:
    """A machine as the energy model sees it. SI units; rates are sustained ones: peak times learned efficiency.

    On a device that runs asynchronously (a GPU) the host launches ahead: a phase lasts as long as the slower of the
    two. `energy_spread` and `duration_spread` are standard deviations of log(measured / predicted); `launch_spread` is
    that of the host's launch cost, and counts as far as a workload waits for it. `host_share` is what the rest of the
    node draws, as a share of the device's own energy. The device slows down where it would draw more than
    `power_limit_w`.
    """

    name: str
    title: str
    status: ProfileStatus
    asynchronous: bool
    flop_per_s: Mapping[tuple[Kind, Rate], float]
    energy_per_flop_j: Mapping[Rate, float]
    bandwidth_bytes_per_s: float
    energy_per_byte_j: float
    static_power_w: float
    power_limit_w: float
    kernel_s: float
    launch_s: float
    module_call_s: float
    tensors_per_optimizer_launch: int
    host_share: float
    host_share_source: str
    energy_spread: float
    duration_spread: float
    launch_spread: float
    memory_bytes: float | None
    source: str

    def rate_of(self, kind: Kind, dtype: str) -> Rate:
        """Which of the machine's rates an op runs at.

        Convolutions in float32 use TF32 where there is one (PyTorch's default; matrix products do not). A dtype
        without units of its own falls back to float32.
        """
        if kind not in CONTRACTIONS:
            return "vector"
        if dtype == "float32" and kind == "conv" and "tf32" in self.energy_per_flop_j:
            return "tf32"
        if dtype in ("bfloat16", "float16") and dtype in self.energy_per_flop_j:
            return "bfloat16" if dtype == "bfloat16" else "float16"
        return "float32"


@cache
def coefficients() -> Mapping[str, Mapping[str, Fact]]:
    """The device-independent coefficients that turn a spec sheet into a profile, by kind of device ("gpu", "cpu")."""
    table = own_table("datasheet_model.toml")
    return MappingProxyType({kind: {name: Fact(**entry) for name, entry in of.items()} for kind, of in table.items()})


def _required(device: Device, fact: str) -> float:
    value = device.value(fact)
    if value is None:
        raise HardwareError(
            f"the catalogue has no {fact} for {device.name}, so it cannot be priced; add it with its source."
        )
    return value


def _catalogue_spread(device: Device) -> float:
    """How much devices of one kind differ: the standard deviation of log(TDP / float32 rate) over the catalogue."""
    of_kind = [d for d in catalogue().values() if d.kind == device.kind]
    return stdev(math.log(_required(d, "tdp_w") / _required(d, "float32_flop_per_s")) for d in of_kind)


def _peaks(device: Device) -> dict[Rate, float]:
    """The device's peak rates. TF32 counts on NVIDIA only, where PyTorch's convolutions use it by default."""
    peaks: dict[Rate, float] = {
        "vector": _required(device, "vector_flop_per_s"),
        "float32": _required(device, "float32_flop_per_s"),
    }
    for dtype in _NARROW:
        peak = device.flop_per_s(dtype)
        if peak is not None and (dtype != "tf32" or device.vendor == "nvidia"):
            peaks[dtype] = peak
    return peaks


def _on_matrix_units(peaks: Mapping[Rate, float], c: Mapping[str, float]) -> frozenset[Rate]:
    """The rates that have coefficients of their own: narrow dtypes, where the device has units for them."""
    fast = any(peaks[rate] > 1.5 * peaks["vector"] for rate in _NARROW if rate in peaks)
    return frozenset(_NARROW) if fast and "matrix_flop_power_share" in c else frozenset()


def _sustained(device: Device, c: Mapping[str, float], slowed: float) -> dict[tuple[Kind, Rate], float]:
    """FLOP/s by kind of op and rate. No dtype is slower than float32: libraries pick the faster algorithm."""
    peaks = _peaks(device)
    matrix = _on_matrix_units(peaks, c)
    rates: dict[tuple[Kind, Rate], float] = {}
    for kind in CONTRACTIONS:
        efficiency = f"{_PRICED_AS.get(kind, kind)}_efficiency"
        for rate, peak in peaks.items():
            rates[kind, rate] = slowed * peak * c[efficiency + "_matrix" if rate in matrix else efficiency]
        for rate in _NARROW:
            if rate in peaks:
                rates[kind, rate] = max(rates[kind, rate], rates[kind, "float32"])
    return rates


def _flop_energies(device: Device, c: Mapping[str, float], slowed: float) -> dict[Rate, float]:
    """Joules per FLOP by rate; no dtype costs more than float32."""
    peaks, tdp_w = _peaks(device), _required(device, "tdp_w")
    matrix, voltage = _on_matrix_units(peaks, c), slowed ** c["voltage_exponent"]
    energies = {
        rate: voltage * c["matrix_flop_power_share" if rate in matrix else "flop_power_share"] * tdp_w / peak
        for rate, peak in peaks.items()
    }
    return {rate: min(joules, energies["float32"]) if rate in _NARROW else joules for rate, joules in energies.items()}


def from_datasheet(
    device: Device, model: Mapping[str, float] | None = None, clock_hz: float | None = None
) -> HardwareProfile:
    """The profile of a device that nobody has measured: its spec sheet times the coefficients of its kind.

    Energy per FLOP and per byte are shares of the thermal design power at full rate:
    energy_per_flop = share x TDP / peak, energy_per_byte = share x TDP / bandwidth. `model` replaces
    `coefficients()` (while they are fitted). At a locked clock `clock_hz`, rates follow the clock and the energy per
    FLOP follows the voltage squared, as a power of the clock.
    """
    asynchronous = device.kind != "cpu"
    facts = {} if model else coefficients()["gpu" if asynchronous else "cpu"]
    c = model or {name: fact.value for name, fact in facts.items()}
    slowed = clock_hz / device.boost_clock_hz if clock_hz and device.boost_clock_hz else 1.0
    tdp_w, bandwidth = _required(device, "tdp_w"), _required(device, "bandwidth_bytes_per_s")
    generic = device.name.startswith("generic-")
    unlike = _catalogue_spread(device) if generic else 0.0
    nominal_hz = None if asynchronous else device.base_clock_hz
    host_speed = nominal_hz / c["host_clock_hz"] if nominal_hz else 1.0
    return HardwareProfile(
        name=device.name,
        title=device.title,
        status="generic" if generic else "datasheet",
        asynchronous=asynchronous,
        flop_per_s=MappingProxyType(_sustained(device, c, slowed)),
        energy_per_flop_j=MappingProxyType(_flop_energies(device, c, slowed)),
        bandwidth_bytes_per_s=bandwidth * c["bandwidth_efficiency"],
        energy_per_byte_j=c["byte_power_share"] * tdp_w / bandwidth,
        static_power_w=c["static_power_share"] * tdp_w,
        power_limit_w=tdp_w,
        kernel_s=c["kernel_s"] / slowed,
        launch_s=c["launch_s"] / host_speed,
        module_call_s=c["module_call_s"] / host_speed,
        tensors_per_optimizer_launch=int(c["tensors_per_optimizer_launch"]),
        host_share=c["host_share"],
        host_share_source=facts["host_share"].source if facts else "",
        energy_spread=math.hypot(c["energy_spread"], c["host_spread"], unlike),
        duration_spread=math.hypot(c["duration_spread"], unlike),
        launch_spread=c["launch_spread"],
        memory_bytes=device.memory_bytes,
        source="its spec sheet, with efficiencies and power shares fitted on published measurements of other machines",
    )
