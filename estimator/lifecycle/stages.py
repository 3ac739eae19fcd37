"""The life-cycle model: from one batch to the inference, the training, the search and the lifetime.

Source of the equations: Gitzel, Platenius-Mohr and Burger 2023, "Estimating the Sustainability of AI Models Based on
Theoretical Models and Experimental Data", sections 3.4 to 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass

from estimator.base.units import kwh
from estimator.energy.pricing import Estimate
from estimator.energy.uncertainty import Interval
from estimator.lifecycle.carbon import Intensity, carbon_kg

PAPER_OVERHEAD = 0.8
"""Share of the training energy that is not the forward pass, for deep nets (Gitzel et al. 2023, section 4.4)."""


@dataclass(frozen=True)
class Site:
    """Where it runs: how many devices, and how the device's energy becomes the facility's.

    `host_share` is what the rest of the node draws, as a share of the device's energy; `pue` is facility energy over
    IT energy.
    """

    host_share: float
    pue: float
    intensity: Intensity
    devices: int = 1

    @property
    def facility_factor(self) -> float:
        """Facility joules per device joule: (1 + host share) x PUE."""
        return (1 + self.host_share) * self.pue


@dataclass(frozen=True)
class Stage:
    """One stage of the life cycle at the facility's boundary: joules, seconds, kilograms of CO2e."""

    energy_j: Interval
    duration_s: Interval
    intensity: Intensity

    @property
    def energy_kwh(self) -> float:
        """The value of `energy_j` in kWh."""
        return kwh(self.energy_j.value)

    @property
    def carbon_kg(self) -> float:
        """CO2e of the value of `energy_j`, in kg."""
        return carbon_kg(self.energy_j.value, self.intensity)

    def __add__(self, other: Stage) -> Stage:
        """One stage after the other."""
        return Stage(self.energy_j + other.energy_j, self.duration_s + other.duration_s, self.intensity)

    def __mul__(self, times: float) -> Stage:
        """The stage, `times` over."""
        return Stage(self.energy_j * times, self.duration_s * times, self.intensity)


def _share(part: float, whole: float) -> float:
    """`part` of `whole`; all of it where a model does nothing and both are 0."""
    return part / whole if whole else 1.0


@dataclass(frozen=True)
class Training:
    """The training stage, and what its forward passes alone take (joules at the facility)."""

    stage: Stage
    forward_energy_j: float
    samples: float
    epochs: float

    @property
    def overhead_share(self) -> float:
        """Share of the training energy that is not the forward pass: backward, loss and optimizer."""
        return 1 - _share(self.forward_energy_j, self.stage.energy_j.value)


def of_samples(estimate: Estimate, samples: float, site: Site) -> Stage:
    """What `samples` samples cost at the facility, in batches of the estimate's size shared by the site's devices.

    I = f(M, PT) * PUE (section 3.4), f being the estimate at the node. Linear in `samples`.
    """
    batches = samples / estimate.batch_size
    return Stage(
        estimate.energy_j * (batches * site.facility_factor),
        estimate.duration_s * (batches / site.devices),
        site.intensity,
    )


def training(step: Estimate, samples: float, epochs: float, site: Site, overhead: float | None = None) -> Training:
    """T = E * D * I * theta, theta = 1 / (1 - overhead) (section 3.5).

    `step` is a whole training step as traced, so that theta is a result. A given `overhead` replaces it: then only
    the step's forward pass is taken, times theta.
    """
    whole = of_samples(step, samples * epochs, site)
    forward_share = _share(step.phase_energy_j.get("forward", 0.0), step.energy_j.value)
    if overhead is None:
        return Training(whole, whole.energy_j.value * forward_share, samples, epochs)
    theta = 1 / (1 - overhead)
    forward_time_share = _share(step.phase_duration_s.get("forward", 0.0), step.duration_s.value)
    forced = Stage(
        whole.energy_j * (forward_share * theta), whole.duration_s * (forward_time_share * theta), site.intensity
    )
    return Training(forced, whole.energy_j.value * forward_share, samples, epochs)


def search(trial: Training, trials: int) -> Stage:
    """CT = sum of T_h over the trials (section 3.6), all trials alike."""
    return trial.stage * trials


def lifetime(searched: Stage | None, trained: Stage, inference: Stage, inferences: float) -> Stage:
    """E_life = CT + T + I * e (section 3.7), `inference` being the stage of one sample."""
    used = trained + inference * inferences
    return used if searched is None else searched + used
