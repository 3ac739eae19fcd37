"""Which model to take: what no other beats in cost and quality, and when a costlier training has paid back."""

from __future__ import annotations

from dataclasses import dataclass

from estimator.comparing.compare import Comparison
from estimator.comparing.ties import Cost, ratio


@dataclass(frozen=True)
class Payback:
    """Inferences after which a costlier training has paid back, with the ends of its interval.

    The ends take both ratios, of training and of inference, at their ends; `high` is None where it may never pay back.
    """

    value: float
    low: float
    high: float | None


def pareto(comparison: Comparison) -> tuple[int, ...]:
    """The rows with a quality that no other row beats by being as cheap and as good, and cheaper or better.

    Told from the predicted values, whatever their intervals.
    """
    rated = [
        (index, total.amount.value, row.quality)
        for index, (row, total) in enumerate(zip(comparison.rows, comparison.totals, strict=True))
        if row.quality is not None
    ]
    return tuple(
        index
        for index, cost, quality in rated
        if not any(c <= cost and q >= quality and (c, q) != (cost, quality) for _, c, q in rated)
    )


def cheapest_within(comparison: Comparison, distance: float) -> int | None:
    """The cheapest row whose quality is at most `distance` below the best one; None where no row has a quality."""
    qualities = {index: row.quality for index, row in enumerate(comparison.rows) if row.quality is not None}
    best = max(qualities.values(), default=0.0)
    rounding = 1e-12 * abs(best)  # 0.93 - 0.01 is a little more than 0.92
    return next((index for index, quality in qualities.items() if quality >= best - distance - rounding), None)


def cheapest_to_train(comparison: Comparison) -> int:
    """The row with the least training and search; the cheaper one in all where several have the same."""
    amounts = [training.amount.value for training in comparison.trainings]
    return amounts.index(min(amounts))


def paybacks(comparison: Comparison) -> tuple[Payback | None, ...]:
    """When each row's training has paid back against the cheapest one by its cheaper inferences; None if never."""
    if not comparison.rows:
        return ()
    costs = list(zip(comparison.trainings, comparison.inferences, strict=True))
    base = costs[cheapest_to_train(comparison)]
    return tuple(_payback(cost, base) for cost in costs)


def _payback(own: tuple[Cost, Cost], base: tuple[Cost, Cost]) -> Payback | None:
    """n = (T - T0) / (I0 - I), training T and inference I against those of the base."""
    training, inference = (ratio(ours, theirs) for ours, theirs in zip(own, base, strict=True))
    if training is None or inference is None or training.value <= 1 or inference.value >= 1:
        return None
    inferences = base[0].amount.value / base[1].amount.value

    def after(training_ratio: float, inference_ratio: float) -> float:
        return inferences * max(0.0, training_ratio - 1) / (1 - inference_ratio)

    high = after(training.high, inference.high) if inference.high < 1 else None
    return Payback(after(training.value, inference.value), after(training.low, inference.low), high)
