"""Grid, random and TPE search, pruned or not, stopped early or not, side by side, before any of them runs.

The experiments of Sahoo et al., "The Green Mile", Table 3: CO2e of one training of their CNN, of it stopped early, of
a TPE search, and of a TPE search with a percentile pruner. How many trials theirs had is not published; their search
cost 8.5 trainings, so 9 is the default here: as long as TPE's start, in which it draws at random. Run it with

    python examples/search_strategies.py [TRIALS]
"""

import sys
from pathlib import Path

from estimator.lifecycle.scenario import Scenario
from estimator.search import Plan, search

SPACE = str(Path(__file__).with_name("search_space.py"))
PUBLISHED = {"training": 0.004014, "training, early stop": 0.002287, "tpe": 0.03407, "tpe, percentile:10": 0.016}
"""kg CO2e, Table 3; shown, like what is predicted, as a multiple of the training."""

PATIENCE = 5
STUDIES = 5


def strategies(trials):
    yield "training", Plan(SPACE, _scenario(1), "random", studies=4 * STUDIES)
    yield "training, early stop", Plan(SPACE, _scenario(1), "random", patience=PATIENCE, studies=4 * STUDIES)
    for sampler in ("grid", "random", "tpe"):
        for pruner in ("none", "percentile:10"):
            for patience in (None, PATIENCE):
                name = sampler + (f", {pruner}" if pruner != "none" else "") + (", early stop" if patience else "")
                yield name, Plan(SPACE, _scenario(trials), sampler, pruner, patience, studies=STUDIES)


def _scenario(trials):
    return Scenario(epochs=50, samples=10_000, trials=trials, hardware="rtx-2080-ti", optimizer="adam")


def main(trials=9):
    heads = f"{'kJ':>5}{'90% interval':>13}{'kg CO2e':>8}{'epochs':>7}{'x':>6}{'Table 3':>8}"
    print(f"{'strategy':33}{heads}")
    training = None
    for name, plan in strategies(trials):
        cost = search(plan)
        joules, kg = cost.stage.energy_j, cost.stage.carbon_kg
        training = training or kg
        published = f"{PUBLISHED[name] / PUBLISHED['training']:.2f}" if name in PUBLISHED else ""
        interval = f"{joules.low / 1e3:,.0f} to {joules.high / 1e3:,.0f}"
        print(
            f"{name:33}{joules.value / 1e3:5,.0f}{interval:>13}{kg:8.4f}{cost.epochs_run.value:7,.0f}"
            f"{kg / training:6.2f}{published:>8}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
