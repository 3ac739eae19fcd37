"""What a calibration and a check say, in lines of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calibration.learning.overhead import overhead_lines
from calibration.proof.verify import Verified
from estimator.base.units import si
from estimator.hardware.calibrated import profile_from
from estimator.hardware.calibrated_machine import CalibratedMachine


def profile_lines(
    machine: CalibratedMachine, path: Path, discarded: int, failures: Sequence[str] = ()
) -> Iterator[str]:
    """What was learned of a machine, and how well it holds."""
    yield f"{machine.device_name}: {machine.networks} networks in {machine.seconds / 60:.1f} min"
    if machine.disturbed:
        yield f"  BESIDE OTHER WORK: {machine.disturbed} of them; trust this profile little"
    if discarded:
        yield f"  {discarded} more were thrown away: other work ran beside them"
    if failures:
        yield f"  {len(failures)} did not run here, the last: {failures[-1]}"
    for phase, error in machine.errors.items():
        yield (
            f"  time of {phase} of networks not seen: median error {error.median_ape:.1%}, "
            f"mean {error.mean_ape:.1%} (n={error.networks})"
        )
    if machine.power is None:
        yield "  energy: no meter reads this device; power is modelled from its spec sheet"
    else:
        error = machine.power.error
        yield f"  energy, times given: median error {error.median_ape:.1%}, mean {error.mean_ape:.1%} ({machine.meter})"
    for minutes, median in machine.learning_curve:
        yield f"  after {minutes:4.1f} min: median error {median:.1%}"
    yield from overhead_lines(profile_from(machine))
    yield f"Profile: {path}"
    yield f"Use it: estimate MODEL --hardware {machine.name}   (auto takes it on this machine)"


def verified_lines(verified: Verified) -> Iterator[str]:
    """Prediction beside measurement, and what to do where they are too far apart."""
    yield f"On {verified.checks[0].hardware}, one batch:"
    for check in verified.checks:
        said = f"  {check.phase:9} {check.quantity:8} predicted {si(check.predicted.value, check.unit)}"
        said += f" ({si(check.predicted.low, check.unit)} to {si(check.predicted.high, check.unit)})"
        yield said
        if check.measured is None or check.error is None:
            yield f"  {'':18} not measured: no meter reads this device"
        else:
            held = "inside the interval" if check.within else "OUTSIDE the interval"
            yield f"  {'':18} {check.status} {si(check.measured, check.unit)}: {check.error:+.1%}, {held}"
    yield from (f"Note: {note}" for note in verified.notes)
    if verified.within:
        return
    if verified.calibrated:
        yield "The machine has drifted, or this model is unlike what was calibrated: see that"
        yield "it is quiet and run `estimate calibrate --fresh`, or go on with more --minutes."
    else:
        yield "This machine was not calibrated: run `estimate calibrate`, then verify again."


def verified_json(verified: Verified) -> dict[str, Any]:
    """The same as plain data."""
    checks = [{**asdict(check), "error": check.error, "within": check.within} for check in verified.checks]
    return {"calibrated": verified.calibrated, "notes": list(verified.notes), "checks": checks}
