"""Grid, random and TPE search, pruned or not, stopped early or not, side by side, before any of them runs.

The experiments of Sahoo et al., "The Green Mile", Table 3: CO2e of one training of their CNN, of it stopped early, of
a TPE search, and of a TPE search with a percentile pruner. How many trials theirs had is not published; their search
cost 8.5 trainings, so 9 is the default here. Run it with

    python examples/search_strategies.py [TRIALS]
"""

import sys
from pathlib import Path

from estimator.scenario import Scenario
from estimator.search import Plan, search

SPACE = str(Path(__file__).with_name("search_space.py"))
PUBLISHED = {"training": 0.004014, "training, stopped early": 0.002287, "tpe": 0.03407, "tpe, percentile:10": 0.016}
"""kg CO2e, Table 3."""

PATIENCE = 5
STUDIES = 5


def strategies(trials):
    yield "training", Plan(SPACE, _scenario(1), "random", studies=4 * STUDIES)
    yield "training, stopped early", Plan(SPACE, _scenario(1), "random", patience=PATIENCE, studies=4 * STUDIES)
    for sampler in ("grid", "random", "tpe"):
        for pruner in ("none", "percentile:10"):
            for patience in (None, PATIENCE):
                name = sampler + (f", {pruner}" if pruner != "none" else "") + (", stopped early" if patience else "")
                yield name, Plan(SPACE, _scenario(trials), sampler, pruner, patience, studies=STUDIES)


def _scenario(trials):
    return Scenario(epochs=50, samples=10_000, trials=trials, hardware="rtx-2080-ti", optimizer="adam")


def main(trials=9):
    heads = f"{'energy':>10} {'90% interval':>20}{'kg CO2e':>10}{'epochs':>8}{'/ training':>12}{'Table 3':>10}"
    print(f"{'strategy':34}{heads}")
    training = None
    for name, plan in strategies(trials):
        cost = search(plan)
        joules, kg = cost.stage.energy_j, cost.stage.carbon_kg
        training = training or kg
        published = f"{PUBLISHED[name] / PUBLISHED['training']:.2f}" if name in PUBLISHED else ""
        interval = f"{joules.low / 1e3:,.0f} to {joules.high / 1e3:,.0f} kJ"
        print(
            f"{name:34}{joules.value / 1e3:7,.0f} kJ {interval:>20}{kg:10.4f}{cost.epochs_run.value:8,.0f}"
            f"{kg / training:12.2f}{published:>10}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
