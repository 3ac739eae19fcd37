"""Calibrated profiles as text for a terminal: those that are kept, and all that one of them says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

from estimator.base.errors import HardwareError
from estimator.base.words import printable
from estimator.energy.op_times import PLACES
from estimator.hardware import catalogue, machine, profile_file, selection
from estimator.hardware.calibrated_machine import CalibratedMachine, HeldOutError
from estimator.report.layout import columns, grid

_NOT_JUDGED = HeldOutError(networks=0, median_ape=1.0, mean_ape=1.0, spread=1.0)


def show_kept(console: Console) -> None:
    """Print the profiles of the user's data directory, newest first; for a damaged one, what to do about it."""
    paths = list(profile_file.kept())
    if not paths:
        console.print(Text("\nNo calibrated profile: `estimate calibrate` makes one of this machine.", style="dim"))
        return
    console.print(Text("\nCalibrated profiles, newest first", style="bold"))
    present = machine.present()
    for path in paths:
        try:
            console.print(_summary(profile_file.name_of(path), profile_file.load(path), present))
        except HardwareError as error:
            console.print(Text(f"! {printable(error)}", style="yellow", overflow="fold"))


def show_profile(path: Path, console: Console) -> None:
    """Print all that the profile at `path` says. Raises `HardwareError` where it cannot be read."""
    found, name = profile_file.load(path), profile_file.name_of(path)
    title = f"{printable(found.device_name)} ({printable(name)}), status calibrated"
    console.print(Text(title, style="bold", overflow="fold"))
    console.print(grid(columns("fact", "value"), list(_facts(found)), console.width))
    for table in (_errors(found, console.width), _overheads(found, console.width)):
        console.print()
        console.print(table)
    console.print(Text(f"\nfile: {printable(path)}", style="dim"), soft_wrap=True)  # whole, to be copied
    if profile_file.path_of(name) == path:
        _say_what_it_hides(name, console)


def _say_what_it_hides(name: str, console: Console) -> None:
    """Which device of the catalogue cannot be had by the name that a kept profile has taken."""
    try:
        device = catalogue.find(name)
    except HardwareError:
        return
    line = f"--hardware {name} is this profile, not the catalogue's {device.title} ({device.name})"
    console.print(Text(line, style="dim", overflow="fold"))


def _summary(name: str, found: CalibratedMachine, present: tuple[machine.Seen, ...]) -> RenderableType:
    here = ", this machine" if selection.is_here(found, present) else ""
    errors = (found.errors.get(phase, _NOT_JUDGED) for phase in ("inference", "training"))
    inference, training = (_percent(error.median_ape, error) for error in errors)
    busy = f" ({found.disturbed} beside other work)" if found.disturbed else ""
    lines = (
        f"{found.device_name}, {found.created[:10]}, {found.networks} networks{busy}, {_meter(found)}",
        f"median error on networks left out: inference {inference}, training {training}",
    )
    said = "".join(f"\n  {printable(line)}" for line in lines)
    return Text.assemble(printable(name), (f" (calibrated{here})", "dim"), said, overflow="fold")


def _meter(found: CalibratedMachine) -> str:
    """Whether joules were read, and by what."""
    if found.power is not None:
        return f"joules {found.power.status} by {found.meter}"
    return "no meter" if found.meter == "none" else f"{found.meter} read too few joules"


def _percent(share: float, error: HeldOutError) -> str:
    return f"{share:.1%}" if error.networks else "-"


def _facts(found: CalibratedMachine) -> Iterator[tuple[str, str]]:
    yield "device", f"{found.device}, logical CPUs {found.logical_cpus}, PyTorch's threads {found.threads}"
    yield "this machine", "yes" if selection.is_here(found, machine.present()) else "no"
    yield "builds on", f"{found.catalogue_name} of the catalogue, for what was not measured"
    yield "calibrated", found.created
    yield "software", ", ".join(f"{package} {version}" for package, version in found.software.items())
    yield "meter", _meter(found) + ("" if found.power else ": power is that of the spec sheet")
    yield "samples", f"{found.networks} networks in {found.seconds / 60:.1f} min"
    if found.disturbed:
        yield "beside other work", f"{found.disturbed} of the networks: trust this profile little"
    yield "dtypes", ", ".join(found.dtypes)
    touched, freed = found.op_times.fresh_s_per_byte, found.op_times.overhead("optimizer").freed_s_per_byte
    if touched or freed:
        yield "new memory", f"{1e9 * touched:.2f} ns a byte at first touch, {1e9 * freed:.2f} where it is given back"
    if found.learning_curve:
        curve = ", ".join(f"{error:.1%} after {minutes:.1f}" for minutes, error in found.learning_curve)
        yield "learning curve", f"median error {curve} min"
    if found.power is not None:
        factors = ", ".join(f"{term} {factor:.2f}" for term, factor in found.power.factors.items())
        yield "power factors", f"{factors} times what it builds on"


def _errors(found: CalibratedMachine, width: int) -> RenderableType:
    """How far predictions missed networks that the fit had not seen."""
    errors = {f"time of {phase}": error for phase, error in found.errors.items()}
    if found.power is not None:
        errors["energy, times given"] = found.power.error
    rows = [
        (what, str(error.networks), _percent(error.median_ape, error), _percent(error.mean_ape, error))
        for what, error in errors.items()
    ]
    numbers = ("networks", "median error", "mean error")
    return grid(columns("of", *numbers, numbers=numbers), rows, width, title="Errors on networks left out")


def _overheads(found: CalibratedMachine, width: int) -> RenderableType:
    """What phases take beside their ops (`op_times.Overhead`); per op it is below 0 where ops were timed too long."""
    numbers = ("x ops' time", "per op", "per kernel", "per module call", "per phase")
    rows = []
    for place in PLACES:
        over = found.op_times.overhead(place)
        seconds = (over.op_s, over.kernel_s, over.module_call_s, over.phase_s)
        rows.append((place, f"{over.scale:.2f}", *(f"{1e6 * s:.1f} µs" for s in seconds)))
    gpu = found.device.startswith("cuda")
    title = "The host's time; the slower of GPU and host decides" if gpu else "Time beside the ops"
    return grid(columns("phase", *numbers, numbers=numbers), rows, width, title=title)
