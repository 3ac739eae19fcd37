"""A `Comparison` as plain data: the JSON of `estimate compare --json`, and from it the CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from estimator.comparing.compare import Comparison
from estimator.comparing.payoff import cheapest_to_train, cheapest_within, pareto, paybacks
from estimator.comparing.reasons import reasons
from estimator.energy.pricing import Bound
from estimator.report.contract import SCHEMA_VERSION, of_interval, to_dict

BOUNDS: tuple[Bound, ...] = get_args(Bound)
"""What time waits for."""

_STAGES = ("inference", "training", "search", "lifetime")


def to_json(comparison: Comparison, within: float) -> dict[str, Any]:
    """The contract of docs/json.md: each row as `estimate --json` tells it, and what only a comparison knows."""
    names = [row.name for row in comparison.rows]
    chosen = cheapest_within(comparison, within)
    return {
        "schema_version": SCHEMA_VERSION,
        "compared_by": compared_by(comparison),
        "models": _models(comparison),
        "pareto": [names[index] for index in pareto(comparison)],
        "cheapest_within": None if chosen is None else {"distance": within, "name": names[chosen]},
        "cheapest_to_train": names[cheapest_to_train(comparison)] if names else None,
        "failed": [{"name": failure.name, "error": failure.error} for failure in comparison.failures],
    }


def compared_by(comparison: Comparison) -> dict[str, str]:
    """Which stage, and what of it, the ratios are of."""
    lived = any(row.footprint.lifetime for row in comparison.rows)
    searched = any(row.footprint.search for row in comparison.rows)
    stage = "lifetime" if lived else "search and training" if searched else "training"
    return {"stage": stage, "quantity": "carbon_kg" if comparison.by_carbon else "energy_j"}


def _models(comparison: Comparison) -> list[dict[str, Any]]:
    columns = zip(
        comparison.rows,
        comparison.ratios,
        comparison.ties,
        reasons(comparison),
        paybacks(comparison),
        strict=True,
    )
    return [
        {
            **to_dict(row.footprint),
            "name": row.name,
            "sweep": dict(row.swept),
            "ratio_to_best": between and between.value,
            "ratio_interval": between and of_interval(between),
            "bound_shares": row.bound_shares,
            "reason": reason and {"cause": reason.cause, "share": reason.share},
            "tie_with": [comparison.rows[other].name for other in tied],
            "quality": row.quality,
            "pays_back_after": payback and {"value": payback.value, "low": payback.low, "high": payback.high},
        }
        for row, between, tied, reason, payback in columns
    ]


def to_csv(comparison: Comparison) -> str:
    """One line a row under a header, numbers as in the JSON; what is not there is empty, names are joined by ";"."""
    told = to_json(comparison, 0.0)
    lines = [_line(model, told["pareto"]) for model in told["models"]]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else ["name"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _line(told: Mapping[str, Any], front: Sequence[str]) -> dict[str, Any]:
    workload, ratio, payback = told["workload"], told["ratio_interval"] or {}, told["pays_back_after"] or {}
    line = {"name": told["name"], **told["sweep"], "hardware_name": told["hardware"]["name"]}
    line |= {"parameters": told["model"]["parameters"]}
    line |= {name: workload[name] for name in ("flops_per_sample", "bound", "bytes_per_sample", "ops")}
    for stage in _STAGES:
        line |= _stage(stage, told[stage] or {})
    for name in ("inference", "training"):
        need = told["memory"][name]
        line |= {f"{name}_memory_bytes": need["bytes"], f"{name}_fits": need["fits"]}
    line |= {"ratio_to_best": told["ratio_to_best"], "ratio_low": ratio.get("low"), "ratio_high": ratio.get("high")}
    line |= {f"{bound}_share": told["bound_shares"].get(bound) for bound in BOUNDS}
    line |= {"reason": told["reason"] and told["reason"]["cause"], "tie_with": ";".join(told["tie_with"])}
    line |= {"quality": told["quality"], "pareto": None if told["quality"] is None else told["name"] in front}
    return line | {f"pays_back_after_{end}": payback.get(end) for end in ("value", "low", "high")}


def _stage(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    energy, seconds = told.get("energy_j", {}), told.get("duration_s", {})
    return {
        f"{name}_energy_j": energy.get("value"),
        f"{name}_energy_low_j": energy.get("low"),
        f"{name}_energy_high_j": energy.get("high"),
        f"{name}_carbon_kg": told.get("carbon_kg"),
        f"{name}_duration_s": seconds.get("value"),
    }
