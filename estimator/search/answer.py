"""The answer of a search: its energy before it runs, as a distribution over the simulated studies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist, median

import numpy as np

from estimator.base.errors import JoulecastError
from estimator.base.facts import Assumption, AssumptionStatus
from estimator.energy.uncertainty import CONFIDENCE, Interval
from estimator.hardware import selection, settings
from estimator.hardware.profile import HardwareProfile
from estimator.lifecycle import choices, switches
from estimator.lifecycle.scenario import Scenario
from estimator.lifecycle.stages import Stage
from estimator.search import workers
from estimator.search.plan import Plan, Unit
from estimator.search.records import ResultFile, UnitSum, summed
from estimator.search.simulate import TrialCost
from estimator.search.workers import Lost, Result

_TAIL = (1 - CONFIDENCE) / 2
_SCENARIO = ("epochs", "samples", "batch_size", "dtype", "optimizer", "devices", "freeze", "overhead", *switches.NAMES)


class SearchError(JoulecastError):
    """No trial of the search could be priced."""


@dataclass(frozen=True)
class SearchCost:
    """What a search will cost at the facility.

    `trials` and `failed_trials` are those of one study (the median over the simulated ones); `epochs_run` is the
    number of epochs that all trials of a study live together. `failures` are (study, trial, reason) of some of them.
    `studies` of `planned_studies` were simulated to their end: fewer after an interruption.
    """

    stage: Stage
    trials: int
    failed_trials: int
    epochs_run: Interval
    failures: tuple[tuple[int, int, str], ...]
    studies: int
    planned_studies: int
    hardware: HardwareProfile
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]


def mixed(totals: Sequence[Interval]) -> Interval:
    """The interval of a total that is one of `totals`, each log-normal within its own ends.

    The machine's error and the luck of the search are independent: the ends are the 5% and 95% quantiles of all
    studies' distributions together, the value is the median study's.
    """
    quantiles = [NormalDist().inv_cdf((i + 0.5) / 200) for i in range(200)]
    z = NormalDist().inv_cdf(1 - _TAIL)
    spreads = [math.log(t.high / t.value) / z if t.value > 0 else 0.0 for t in totals]
    outcomes = [t.value * math.exp(spread * q) for t, spread in zip(totals, spreads, strict=True) for q in quantiles]
    value = median(t.value for t in totals)
    low, high = np.quantile(outcomes, [_TAIL, 1 - _TAIL])
    return Interval(value, min(float(low), value), max(float(high), value))


def _spread(values: Sequence[float]) -> Interval:
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    return Interval(median(values), min(float(low), median(values)), max(float(high), median(values)))


def _added(parts: Iterable[Interval]) -> Interval:
    """The sum, the same in whatever order the parts came."""
    all_parts = list(parts)
    return Interval(*(math.fsum(getattr(part, end) for part in all_parts) for end in ("value", "low", "high")))


@dataclass(frozen=True)
class Runner:
    """How a plan is run: on `jobs` processes, or on the Dask cluster at `dask`; results go to the file `out`.

    `progress` is told how many trials of all studies are done, beginning with those that `out` holds already; `note`
    of workers that were lost.
    """

    jobs: int = 1
    dask: str | None = None
    out: Path | None = None
    progress: Callable[[int], None] = lambda trials: None
    note: Callable[[str], None] = lambda text: None

    def results(self, plan: Plan, units: Sequence[Unit], told: Callable[[int], None]) -> Iterator[Result]:
        """The units' trials, as they are done; in this process `told` hears how many of the unit's are, meanwhile."""
        if self.dask is not None:
            return workers.with_dask(plan, units, self.dask, self.note)
        if self.jobs > 1 and len(units) > 1:
            return workers.with_joblib(plan, units, self.jobs, self.note)
        return workers.here(plan, units, told)


def search(plan: Plan, runner: Runner | None = None) -> SearchCost:
    """Predict what `plan` costs, without training anything.

    With `runner.out`, what an earlier run of the same plan has left there is taken over. An interrupt (Ctrl-C) ends
    the run: where a study was done by then, the answer is that of the studies that were. Raises `SearchError` where no
    trial could be priced, `KeyboardInterrupt` where no study was done.
    """
    runner = runner or Runner()
    given = plan.scenario
    profile, on_hardware = selection.choose(given.value_of("hardware"), given.settings, plan.hardware)
    plan = replace(plan, hardware=profile, scenario=given.on_chosen_hardware())
    file = ResultFile(runner.out, plan) if runner.out else None
    done = dict(file.done) if file else {}
    units = [unit for unit in plan.units() if unit not in done]
    trials, interrupted = sum(unit.trials for unit in done), False

    def told(of_unit: int) -> None:
        runner.progress(trials + of_unit)

    try:
        told(0)
        for unit, result in runner.results(plan, units, told):
            costs = _lost(unit, result.why) if isinstance(result, Lost) else result
            if file:
                file.append(unit, costs)
            done[unit] = summed(unit, costs)
            trials += unit.trials
            told(0)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        if file:
            file.close()
    studies = _studies(plan, done)
    if interrupted and not studies:
        raise KeyboardInterrupt
    clock = selection.clock_of(profile, given=given.clock_mhz is not None)
    return _answer(plan, studies, profile, (on_hardware, *clock, *settings.said(profile, given.settings)))


def _lost(unit: Unit, why: str) -> list[TrialCost]:
    nothing = Interval(0.0, 0.0, 0.0)
    numbers = range(unit.first, unit.first + unit.trials)
    return [TrialCost(unit.study, n, "failed", 0, 0, nothing, nothing, {}, f"worker lost: {why}") for n in numbers]


def _studies(plan: Plan, done: dict[Unit, UnitSum]) -> list[list[UnitSum]]:
    """The units of every study of which all units are done."""
    by_study: dict[int, list[Unit]] = {}
    for unit in plan.units():
        by_study.setdefault(unit.study, []).append(unit)
    return [[done[unit] for unit in units] for units in by_study.values() if all(unit in done for unit in units)]


def _answer(
    plan: Plan, studies: list[list[UnitSum]], profile: HardwareProfile, machine: Sequence[Assumption]
) -> SearchCost:
    failures = tuple((s.unit.study, trial, why) for study in studies for s in study for trial, why in s.failures)
    finished = [study for study in studies if sum(s.finished for s in study)]
    if not finished:
        why = f": trial {failures[0][1]} says: {failures[0][2]}" if failures else " before it was pruned"
        raise SearchError(f"no trial of the search could be priced{why}")
    site, on_site = choices.site_of(plan.scenario, profile.host)
    stage = Stage(
        mixed([_added(s.energy_j for s in study) for study in finished]),
        mixed([_added(s.duration_s for s in study) for study in finished]),
        site.intensity,
    )
    trials = round(median(sum(s.trials for s in study) for study in finished))
    return SearchCost(
        stage=stage,
        trials=trials,
        failed_trials=round(median(sum(s.failed for s in study) for study in finished)),
        epochs_run=_spread([math.fsum(s.epochs_run for s in study) for study in finished]),
        failures=failures,
        studies=len(studies),
        planned_studies=plan.times,
        hardware=profile,
        assumptions=(
            *_assumed(plan),
            *machine,
            *on_site,
        ),
        warnings=tuple(_warnings(plan, studies, finished, trials)),
    )


def _warnings(plan: Plan, studies: list[list[UnitSum]], finished: list[list[UnitSum]], trials: int) -> Iterator[str]:
    if trials < plan.trials:
        yield f"a study ends after {trials} of {plan.trials} trials: its sampler has no more to draw"
    if len(studies) < plan.times:
        yield f"interrupted: {len(studies)} of {plan.times} simulated studies were done"
    if len(finished) < len(studies):
        numbers = ", ".join(str(study[0].unit.study) for study in studies if study not in finished)
        yield f"no trial of simulated study {numbers} could be priced; it is left out"
    yield from dict.fromkeys(caution for study in studies for s in study for caution in s.cautions)


def _assumed(plan: Plan) -> Iterator[Assumption]:
    """What the answer rests on, beside the machine and the site."""
    for assumption in plan.scenario.assumptions():
        if assumption.name in _SCENARIO:
            yield assumption
    scenario: Scenario = plan.scenario

    def choice(name: str, value: str | float, unit: str, default: object, flag: str) -> Assumption:
        status: AssumptionStatus = "default" if value == default else "given"
        return Assumption(name, value, unit, status, flag, flag)

    yield Assumption("trials", plan.trials, "trials", "given" if scenario.trials else "default", "--trials", "--trials")
    yield choice("sampler", plan.sampler, "", "tpe", "--sampler")
    yield choice("pruner", plan.pruner, "", "none", "--pruner")
    if plan.patience is not None:
        yield choice("early stopping", plan.patience, "epochs", None, "--early-stopping")
    status: AssumptionStatus = "given" if plan.studies else "default"
    yield Assumption("simulated studies", plan.times, "studies", status, "--studies", "--studies")
    if plan.reads_losses:
        why = "log(final loss) between trials; power-law curves, simulated"
        status = "default" if plan.curves.spread == 0.3 else "given"
        yield Assumption("curve spread", plan.curves.spread, "of log(loss)", status, why, "--curve-spread")
