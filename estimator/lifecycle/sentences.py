"""What a life cycle costs, told in sentences: energy with its interval, CO2e, and time with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from estimator.base.units import electricity, mass, si, spent, spent_between
from estimator.lifecycle.carbon import Intensity
from estimator.lifecycle.stages import Stage, Training

_MANY = 1e6
"""One inference is too little to picture: so many are told beside it."""


def place(intensity: Intensity) -> str:
    """Where the electricity is from: "in Germany", "in us-west1 (Oregon)", "on the world's average grid"."""
    if intensity.kind == "world":
        return "on the world's average grid"
    if intensity.kind == "given":
        return f"on a grid of {intensity.carbon_intensity_kg_per_kwh * 1000:g} gCO2e/kWh"
    return f"in {intensity.region}" + (f" ({intensity.location})" if intensity.location else "")


def costs(stage: Stage) -> str:
    """A stage's energy, CO2e and time: "170 Wh (91 to 320), 65 g CO2e and 16 min (8.2 to 31)"."""
    energy, time = stage.energy_j, stage.duration_s
    return (
        f"{electricity(energy.value, energy.low, energy.high)}, {mass(stage.carbon_kg)} CO2e "
        f"and {spent_between(time.value, time.low, time.high)}"
    )


def of_training(name: str, devices: str, training: Training) -> str:
    """What training the model `name` on `devices` takes."""
    epochs = f"{training.epochs:,g} epoch{'' if training.epochs == 1 else 's'}"
    samples = f"{training.samples:,.15g} sample{'' if training.samples == 1 else 's'}"
    where = place(training.stage.intensity)
    return f"Training {name} for {epochs} of {samples} on {devices} {where} takes about {costs(training.stage)}."


def of_inference(stage: Stage) -> str:
    """What one sample takes, and a million of them."""
    energy, many = stage.energy_j, stage * _MANY
    return (
        f"One inference takes about {si(energy.value, 'J', 2)} ({si(energy.low, 'J', 2)} to "
        f"{si(energy.high, 'J', 2)}) and {spent(stage.duration_s.value)}; a million take "
        f"{si(many.energy_j.value / 3600, 'Wh', 2)}, {mass(many.carbon_kg)} CO2e."
    )


def of_search(stage: Stage, trials: float) -> str:
    """What a search takes."""
    return f"Its search of {trials:,g} trials takes about {costs(stage)}."


def of_lifetime(stage: Stage, inferences: float) -> str:
    """What the whole life takes, `inferences` among it."""
    return f"Its lifetime with {inferences:,.15g} inferences takes about {costs(stage)}."


def as_html(caption: str, stages: Mapping[str, Stage]) -> str:
    """A table of `stages` by their names for a notebook; what others wrote is escaped."""
    heads = ("", "energy (90% interval)", "CO2e", "time (90% interval)")
    rows = "".join(_row(name, stage) for name, stage in stages.items())
    head = "".join(f"<th>{text}</th>" for text in heads)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{rows}</table>"


def _row(name: str, stage: Stage) -> str:
    energy, time = stage.energy_j, stage.duration_s
    cells = (
        electricity(energy.value, energy.low, energy.high),
        mass(stage.carbon_kg),
        spent_between(time.value, time.low, time.high),
    )
    return f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
