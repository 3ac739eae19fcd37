"""Where the units of a plan are run: in this process, in several (joblib), or on a Dask cluster.

A unit is a pure function of the plan, so one that was lost with its worker is run again and gives the same trials; it
counts when its result arrives, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from estimator.base.budget import Limits, limited, limits
from estimator.base.errors import ScenarioError
from estimator.search.plan import Plan, Unit
from estimator.search.simulate import Simulation, TrialCost

Note = Callable[[str], None]
Told = Callable[[int], None]
Result = tuple[Unit, "list[TrialCost] | Lost"]

_ANSWERS_WITHIN_S = 5
"""How long the scheduler of a cluster may take to answer."""

_TRIES = 3
"""How often a unit is begun before it is given up, where workers die of it."""

_ready: dict[str, Simulation] = {}


@dataclass(frozen=True)
class Lost:
    """A unit whose workers died every time, and how."""

    why: str


def run_unit(search: str, plan: Plan, unit: Unit, limits: Limits) -> Result:
    """Simulate one unit in a worker, which keeps what it learned for the next one of the same `search`.

    `limits` are those of the process that asks for it.
    """
    with limited(**asdict(limits)):
        if search not in _ready:
            _ready.clear()
            _ready[search] = Simulation(plan)
        return unit, _ready[search].run(unit)


def here(plan: Plan, units: Sequence[Unit], told: Told) -> Iterator[Result]:
    """One unit after the other; `told` hears how many of its trials are done."""
    simulation = Simulation(plan)
    for unit in units:
        yield unit, simulation.run(unit, told)


def with_joblib(plan: Plan, units: Sequence[Unit], jobs: int, note: Note, attempt: int = 1) -> Iterator[Result]:
    """`jobs` processes of joblib, in the order in which units are done.

    Where a worker dies, joblib gives up all that was under way: it is tried again in halves, until a unit of which
    workers die is alone; that one is lost.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    missing, search = dict.fromkeys(units), uuid4().hex
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    try:
        for unit, costs in parallel(delayed(run_unit)(search, plan, unit, limits()) for unit in units):
            del missing[unit]
            yield unit, costs
        return
    except BrokenProcessPool:
        left = list(missing)
    if len(left) == 1 and attempt >= _TRIES:
        yield left[0], Lost(f"{_TRIES} workers died of it")
        return
    note("a worker was lost; what was under way is begun again")
    half = (len(left) + 1) // 2
    for part in (left[:half], left[half:]):
        if part:
            yield from with_joblib(plan, part, jobs, note, attempt + 1 if len(left) == 1 else 1)


def with_dask(plan: Plan, units: Sequence[Unit], address: str, note: Note) -> Iterator[Result]:
    """The workers of the Dask cluster at `address`, in the order in which units are done.

    Dask itself runs the units of a lost worker again, elsewhere; one of which `_TRIES` workers died is lost.
    """
    try:
        from distributed import CancelledError, Client, KilledWorker, as_completed
    except ImportError as error:
        raise ScenarioError("--dask needs Dask, which is not here: pip install 'joulecast[dask]'.") from error
    try:
        client = Client(address, timeout=_ANSWERS_WITHIN_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ScenarioError(
            f"--dask {address} does not answer ({error}); start a scheduler, `dask scheduler`."
        ) from error
    with client:
        seen, search = _workers(client), uuid4().hex
        if not seen:
            note(f"--dask {address} has no workers yet; start some, `dask worker {address}`")
        futures = {client.submit(run_unit, search, plan, unit, limits(), pure=False): unit for unit in units}
        for future in as_completed(list(futures)):  # type: ignore[no-untyped-call]
            unit, present = futures.pop(future), _workers(client)
            if seen - present:
                note("a worker was lost; Dask runs its work again")
            seen = present
            try:
                yield future.result()
            except KilledWorker:
                yield unit, Lost("its workers died every time")
            except CancelledError as error:
                raise ScenarioError(
                    f"--dask {address} was lost: start it again; with --out FILE the same command goes on where it was."
                ) from error
            except ImportError as error:
                raise ScenarioError(
                    f"a worker of --dask {address} has no {error.name}: pip install 'joulecast[search]' there."
                ) from error
            future.release()


def _workers(client: Any) -> set[str]:
    return set(client.scheduler_info()["workers"])
