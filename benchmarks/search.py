"""How many candidates of an architecture search are priced a second: one core and two, loky and Dask, cold and warm.

"priced": a module that is built already. "searched": drawn by Optuna's random sampler, built, priced and kept. Cold is
the first use, with the start of the workers and every kind of layer to be traced; warm the second half of a run. No
candidate is drawn twice on purpose, and those that are (few) are counted as they come.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.figure import Figure, of_samples, seconds
from estimator.energy import pricing
from estimator.hardware import catalogue
from estimator.hardware.datasheet import profile_of
from estimator.lifecycle.scenario import Scenario
from estimator.search import Plan, Pricer, Runner, search
from estimator.search.simulate import Simulation
from estimator.sources.building import on_meta
from estimator.sources.loaded import LoadedModel
from estimator.workload.trace import TraceInputs, trace

if TYPE_CHECKING:
    from torch import nn

WIDTHS = range(16, 513, 16)
BATCH, TRIALS, MANY = 32, 12_000, 100_000
PROFILE = profile_of(catalogue.find("a100-sxm-80gb"))
SCENARIO = Scenario(epochs=10, samples=100_000)


def mlps(trial: Any) -> nn.Module:
    """2 to 12 linear layers of 16 to 512."""
    from torch import nn

    layers: list[nn.Module] = []
    width = 100
    for i in range(trial.suggest_int("layers", 1, 11)):
        wider = trial.suggest_int(f"width_{i}", WIDTHS[0], WIDTHS[-1], step=WIDTHS.step)
        layers += [nn.Linear(width, wider), nn.ReLU()]
        width = wider
    return nn.Sequential(*layers, nn.Linear(width, 10))


class _Drawn:
    """A trial's suggestions without a study."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def suggest_int(self, name: str, low: int, high: int, step: int = 1) -> int:
        return self._random.randrange(low, high + 1, step)


def _mlp(random: Random) -> nn.Module:
    return mlps(_Drawn(random))


def _resnet(random: Random) -> nn.Module:
    """torchvision's ResNet of bottlenecks, about as large as ResNet-50: depths, widths and classes vary."""
    from torchvision.models.resnet import Bottleneck, ResNet

    layers = [random.randint(2, 4), random.randint(3, 5), random.randint(5, 7), random.randint(2, 4)]
    return ResNet(Bottleneck, layers, random.choice([10, 100, 1000]), width_per_group=random.choice([48, 56, 64, 72]))


def _priced(name: str, build: Callable[[Random], nn.Module], number: int, bar_ms: float) -> Iterator[Figure]:
    """Milliseconds to price one of `number` modules, built before: the first ones, and those after as many more."""
    random, pricer = Random(0), Pricer(SCENARIO, PROFILE)
    for kind, bar, nets in (("cold", None, 50), ("warm up", None, 3 * number), ("warm", bar_ms, number)):
        times = []
        for _ in range(nets):
            net = LoadedModel(on_meta(lambda: build(random)), name, "")
            times.append(1e3 * seconds(lambda net=net: pricer.price(net, BATCH)))
        if kind != "warm up":
            mean = sum(times) / len(times)
            yield Figure(f"{name} priced, {kind}", mean, "ms", bar, None, f"{1e3 / mean:,.0f} a second, one core")


def _differences(build: Callable[[Random], nn.Module], inputs: Sequence[int], number: int) -> Iterator[float]:
    """By how many percent the price from parts is beside that of the full trace."""
    import torch

    random, pricer = Random(1), Pricer(SCENARIO, PROFILE)
    for _ in range(number):
        net = on_meta(lambda: build(random))
        ours = pricer.price(LoadedModel(net, "", ""), BATCH).sample.energy_j.value
        x = torch.empty(BATCH, *inputs, device="meta")
        full = pricing.price(trace(net, TraceInputs((x,), {}, BATCH), optimizer="adam"), PROFILE.model)
        yield abs(100 * (ours / (full.energy_j.value / BATCH * pricer.site.facility_factor) - 1))


class _Stamps:
    """When how many trials were done."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, int]] = []

    def __call__(self, trials: int) -> None:
        self.rows.append((time.perf_counter(), trials))

    def rates(self) -> tuple[float, float]:
        """Trials a second, of the first tenth (cold, with the start) and of the second half (warm)."""

        def rate(first: int, last: int) -> float:
            (begun_s, before), (ended_s, after) = (
                next(row for row in self.rows if row[1] >= trials) for trials in (first, last)
            )
            return (after - before) / (ended_s - begun_s)

        total = self.rows[-1][1]
        return rate(0, total // 10), rate(total // 2, total)


def _rates(runner: Runner, seed: int) -> tuple[float, float]:
    stamps = _Stamps()
    plan = Plan(mlps, replace(SCENARIO, trials=TRIALS), "random", studies=1, seed=seed, hardware=PROFILE)
    search(plan, replace(runner, progress=stamps))
    return stamps.rates()


def _searched() -> Iterator[Figure]:
    from distributed import LocalCluster

    one = _rates(Runner(), 1)
    loky = _rates(Runner(jobs=2), 2)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        dask = _rates(Runner(dask=cluster.scheduler_address), 3)
    for name, (cold, warm) in {"one core": one, "two cores, loky": loky, "two cores, Dask": dask}.items():
        for kind, rate in (("cold", cold), ("warm", warm)):
            yield Figure(f"MLPs searched, {name}, {kind}", rate, "/s")
    for name, (_, warm) in {"loky": loky, "Dask": dask}.items():
        yield Figure(
            f"time of two cores over that of one, {name}",
            one[1] / warm,
            "x",
            1 / 1.7,
            None,
            f"{warm / one[1]:.2f} times the throughput",
        )


def _memory() -> Iterator[Figure]:
    """What a process grows by between candidate 20,000 and candidate 100,000."""
    plan = Plan(mlps, replace(SCENARIO, trials=MANY), "random", studies=1, seed=4, hardware=PROFILE)
    simulation, process, megabytes, done = Simulation(plan), psutil.Process(os.getpid()), [], 0
    for unit in plan.units():
        simulation.run(unit)
        done += unit.trials
        if done in (MANY // 5, MANY):
            megabytes.append(process.memory_info().rss / 1e6)
    grown = 100 * (megabytes[1] / megabytes[0] - 1)
    yield Figure("growth from candidate 20,000 to 100,000", grown, "%", 10.0, None, f"{megabytes[1]:,.0f} MB then")


def measure() -> Iterator[Figure]:
    """All figures, about four minutes."""
    from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension

    allow_torchvision_without_its_extension()
    yield from _priced("MLPs of 2 to 12 layers", _mlp, 1000, 1.0)
    yield from _priced("ResNets like ResNet-50", _resnet, 30, 1000 / 30)
    yield of_samples("MLPs: off the full trace", [max(_differences(_mlp, (100,), 20))], "%", 1.0)
    yield of_samples("ResNets: off the full trace", [max(_differences(_resnet, (3, 224, 224), 5))], "%", 1.0)
    yield from _searched()
    yield from _memory()
