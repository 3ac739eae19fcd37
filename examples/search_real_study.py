"""A real Optuna study on a small task: its energy predicted before it runs, and measured while it does.

    python examples/search_real_study.py [TRIALS] [STORAGE]

A multilayer perceptron learns scikit-learn's handwritten digits (1,797 pictures of 8 x 8, Alpaydin and Kaynak 1998).
Give a storage such as sqlite:///study.db and the study goes on where it was interrupted. Where no meter can be read
the measured energy is left out, and the example says so.
"""

import contextlib
import sys

import optuna
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from estimator.lifecycle.scenario import Scenario
from estimator.search import Ledger, Plan, Pricer, priced, search
from profilers import find_meters, measure

EPOCHS, BATCH = 10, 32
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # where `hardware="auto"` supposes it, too


def build(trial):
    layers, width = [], 64
    for i in range(trial.suggest_int("layers", 1, 3)):
        wider = trial.suggest_int(f"width_{i}", 32, 256, step=32)
        layers += [nn.Linear(width, wider), nn.ReLU()]
        width = wider
    trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    return nn.Sequential(*layers, nn.Linear(width, 10))


def training(data):
    x, x_test, y, y_test = data

    def train(trial, candidate):
        torch.manual_seed(trial.number)
        net = build(trial).to(DEVICE)  # asked again, the trial gives the same values; now with weights
        optimizer = torch.optim.Adam(net.parameters(), trial.params["learning_rate"])
        for epoch in range(int(candidate.epochs)):
            for at in torch.randperm(len(x), device=DEVICE).split(candidate.batch_size):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[at]), y[at]).backward()
                optimizer.step()
            with torch.no_grad():
                loss = nn.functional.cross_entropy(net(x_test), y_test).item()
            trial.report(loss, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    return train


def metered_by(meters):
    @contextlib.contextmanager
    def metered():
        with measure(meters, policy=None) as window:
            yield lambda: window.measurement.total.energy_j

    return metered


def main(trials=12, storage=None):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    data = [part.to(DEVICE) for part in train_test_split(x, y, test_size=0.2, random_state=0)]
    scenario = Scenario(epochs=EPOCHS, samples=len(data[0]), batch_size=BATCH, trials=trials)
    pricer = Pricer(scenario)

    before = search(Plan(build, scenario, "tpe", "median"))
    facility = before.stage.energy_j
    device = facility * (1 / pricer.site.facility_factor)
    print(f"before: {before.trials} trials, about {before.epochs_run.value:.0f} epochs on {before.hardware.title}")
    print(f"  facility: {facility.value:.3g} J ({facility.low:.2g} to {facility.high:.2g})")
    print(f"  device: {device.value:.3g} J ({device.low:.2g} to {device.high:.2g})")

    meters = [meter for meter in find_meters().meters if meter.name != "codecarbon"]
    study = optuna.create_study(
        study_name="digits", storage=storage, load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.MedianPruner(),
    )  # fmt: skip
    metering = {"metered": metered_by(meters)} if meters else {}
    objective = priced(build, training(data), pricer, **metering)
    study.optimize(objective, max(0, trials - Ledger.totals(study).trials), callbacks=[Ledger()])

    totals = Ledger.totals(study)
    print(f"after: {totals.trials} trials, {totals.failed} failed, best loss {study.best_value:.3f}")
    print(f"  device: {totals.lived_j:.3g} J predicted for the epochs that ran")
    if totals.measured_j is None:
        print("  not measured: no meter of this machine's CPU or GPU can be read (`estimate meters` says why)")
    else:
        print(f"  device: {totals.measured_j:.3g} J measured")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
