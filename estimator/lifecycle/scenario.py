"""The scenario: what will be done with the model, where, and on what; and which of it nobody said."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from estimator.base.errors import ScenarioError
from estimator.base.facts import Assumption
from estimator.hardware.settings import HOSTS, LOOPS, TF32_CLASSES, Settings
from estimator.lifecycle import switches
from estimator.lifecycle.parallel import SHARDS
from estimator.lifecycle.spellings import dtype_of, optimizer_of

DTYPES = ("float32", "bfloat16", "float16")
OPTIMIZER_NAMES = ("sgd", "momentum", "adam", "adamw")

_MOST = 1e18
"""No amount is larger: all products stay finite."""

_PAPER = "the setting of Gitzel et al. 2023, Table 6"
_DEFAULTS: dict[str, tuple[Any, str, str]] = {
    "epochs": (10, "epochs", _PAPER),
    "samples": (100_000, "samples", _PAPER),
    "batch_size": (32, "samples", "a common choice for one GPU"),
    "inference_batch_size": (1, "samples", "one request at a time"),
    "dtype": ("float32", "", "PyTorch's default; weights, activations and optimizer state alike"),
    "optimizer": ("adam", "", "a common choice"),
    "devices": (1, "devices", "one device; of more, each takes its part of a batch"),
    "hardware": ("auto", "", "this machine"),
}

_BATCH_SIZES = ("batch_size", "inference_batch_size")


WHERE = ("datacenter", "workstation", "laptop")
"""Where it runs: the first has a building that is cooled for it."""


@dataclass(frozen=True)
class Scenario:
    """What the user says; None means that it was not said, and a default is used and listed as an assumption.

    `inputs` are shapes of ONE sample as in `--input` ("3x224x224", "tokens:512"). `no_batch` says that no dimension of
    theirs is a batch (a graph, one cloud of points): a step is one sample. `freeze` holds shell patterns of parameters
    that are not trained. `overhead` forces the share of the training energy that is not the forward pass
    (the paper's 0.8) in place of the traced one. `trials` asks for an architecture search, `inferences` for a
    lifetime. `clock_mhz` is a GPU clock that is locked below the boost clock, `power_limit` one in W that is set below
    the board's own, `cores` are those of a CPU that the work may use; `host`, `tf32` and `optimizer_loop` are as in
    `estimator.hardware.settings`. `channels_last` says that pictures and weights are kept so. `carbon_intensity` is in
    gCO2e/kWh and excludes `region`. `pue` is facility energy over IT energy; `where` is "datacenter", or one of `WHERE`
    that has no building around it, whose PUE is 1; `host_share` is what the rest of the node draws over what the device
    does. `dtype` and `optimizer` are understood in their common spellings too (`bf16`, `SGD`;
    `estimator.lifecycle.spellings`), and kept as torch and this package call them.
    How the model is run, `autocast`, `checkpointing`, `compile` and `accumulate` say (`estimator.lifecycle.switches`):
    the last is the number of batches, of `batch_size` each, whose gradients are summed before the optimizer's step.

    Raises `ScenarioError` where a value is out of its range.
    """

    epochs: float | None = None
    samples: float | None = None
    batch_size: int | None = None
    inference_batch_size: int | None = None
    inputs: tuple[str, ...] = ()
    no_batch: bool = False
    dtype: str | None = None
    autocast: str | None = None
    checkpointing: str | None = None
    accumulate: int | None = None
    compile: str | None = None
    optimizer: str | None = None
    freeze: tuple[str, ...] = ()
    overhead: float | None = None
    trials: int | None = None
    search_epochs: float | None = None
    search_samples: float | None = None
    inferences: float | None = None
    hardware: str | None = None
    clock_mhz: float | None = None
    power_limit: float | None = None
    host: str | None = None
    tf32: str | None = None
    channels_last: bool = False
    cores: float | None = None
    optimizer_loop: str | None = None
    devices: int | None = None
    nodes: int | None = None
    shard: str | None = None
    link: str | None = None
    region: str | None = None
    carbon_intensity: float | None = None
    pue: float | None = None
    where: str | None = None
    host_share: float | None = None

    def __post_init__(self) -> None:
        for name in ("inputs", "freeze"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        for name in (
            "epochs",
            "samples",
            "search_epochs",
            "search_samples",
            "inferences",
            "clock_mhz",
            "power_limit",
            "cores",
        ):
            _check_amount(name, getattr(self, name))
        for name in ("batch_size", "inference_batch_size", "accumulate", "devices", "nodes", "trials"):
            value = getattr(self, name)
            _check_whole(name, value)
            object.__setattr__(self, name, None if value is None else int(value))
        for name, spelled in (("dtype", dtype_of), ("optimizer", optimizer_of)):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else spelled(str(value)))
        _check_choice("dtype", self.dtype, DTYPES)
        _check_choice("optimizer", self.optimizer, OPTIMIZER_NAMES)
        self._settle_switches()
        self._check_batch()
        if self.overhead is not None and not (_is_number(self.overhead) and 0 <= self.overhead < 1):
            raise ScenarioError(
                f"--overhead is a share of the training energy, from 0 up to but not 1, not {self.overhead!r}."
            )
        if self.pue is not None and not (_is_number(self.pue) and 1 <= self.pue <= _MOST):
            raise ScenarioError(f"--pue is facility energy over IT energy, at least 1, not {self.pue!r}.")
        for name, choices in (
            ("where", WHERE),
            ("host", tuple(HOSTS)),
            ("tf32", tuple(TF32_CLASSES)),
            ("optimizer_loop", LOOPS),
            ("shard", SHARDS),
        ):
            _check_choice(name, getattr(self, name), choices)
        if self.host_share is not None and not (_is_number(self.host_share) and 0 <= self.host_share <= _MOST):
            raise ScenarioError(
                f"--host-share is what the rest of the node draws over what the device does, at least 0, "
                f"not {self.host_share!r}."
            )
        if self.carbon_intensity is not None and not _is_number(self.carbon_intensity):
            raise ScenarioError(f"--carbon-intensity is a number of gCO2e/kWh, not {self.carbon_intensity!r}.")
        if self.region is not None and self.carbon_intensity is not None:
            raise ScenarioError("--region and --carbon-intensity exclude each other; give one of them.")
        if self.trials is None and (self.search_epochs is not None or self.search_samples is not None):
            raise ScenarioError("--search-epochs and --search-samples describe a search; say how many --trials it has.")

    def _check_batch(self) -> None:
        if self.no_batch and (max(self.batch_size or 1, self.inference_batch_size or 1) > 1):
            raise ScenarioError("--no-batch says that a step is one sample; leave out the batch sizes above 1.")
        if self.no_batch and any("B" in text.rpartition("=")[2] for text in self.inputs):
            raise ScenarioError("--no-batch says that no size is a batch; leave out the B in --input.")

    def _settle_switches(self) -> None:
        for name in switches.CHOICES:
            object.__setattr__(self, name, switches.settled(name, getattr(self, name)))
        switches.check(vars(self))

    def value_of(self, name: str) -> Any:
        """What the user said, else the default."""
        given = getattr(self, name)
        if given is None and self.no_batch and name in _BATCH_SIZES:
            return 1
        return _DEFAULTS[name][0] if given is None else given

    @property
    def settings(self) -> Settings:
        """How the machine is set up."""
        clock_hz = None if self.clock_mhz is None else 1e6 * self.clock_mhz
        return Settings(clock_hz, self.power_limit, self.host, self.tf32, self.optimizer_loop, self.cores)

    def on_chosen_hardware(self) -> Scenario:
        """The same without what a profile holds once it is chosen; the optimizer's loop is part of a trace too."""
        return replace(self, hardware=None, clock_mhz=None, power_limit=None, host=None, tf32=None, cores=None)

    @property
    def optimizer_step(self) -> str:
        """The optimizer's step, of `estimator.workload.optimizers.OPTIMIZERS`."""
        name: str = self.value_of("optimizer")
        return f"{name}_fused" if self.optimizer_loop == "fused" else name

    @property
    def trial_epochs(self) -> float:
        """Epochs of one trial of the search: its own, else the training's."""
        return float(self.search_epochs or self.value_of("epochs"))

    @property
    def trial_samples(self) -> float:
        """Samples of one trial of the search: its own, else the training's."""
        return float(self.search_samples or self.value_of("samples"))

    def assumptions(self) -> Iterable[Assumption]:
        """The choices of this scenario and whether they were given; hardware, region and PUE are told elsewhere."""
        for name, (default, unit, source) in _DEFAULTS.items():
            given = getattr(self, name)
            if name == "hardware":  # what it resolves to is known only later
                continue
            if self.no_batch and name in _BATCH_SIZES:
                yield Assumption(name, 1, unit, "given", "--no-batch", "--no-batch")
            elif given is None:
                yield Assumption(name, default, unit, "default", source, _option(name))
            else:
                yield _given(name, given, unit)
        yield from switches.given(vars(self))
        if self.freeze:
            yield _given("freeze", " ".join(self.freeze), "")
        if self.channels_last:
            yield _given("channels_last", "yes", "")
        if self.overhead is not None:
            yield _given("overhead", self.overhead, "of the training energy")
        if self.trials is not None:
            yield _given("trials", self.trials, "trials")
            for name, like in (("search_epochs", "epochs"), ("search_samples", "samples")):
                given = getattr(self, name)
                as_trained = Assumption(name, self.value_of(like), like, "default", "as the training", _option(name))
                yield as_trained if given is None else _given(name, given, like)
        if self.inferences is not None:
            yield _given("inferences", self.inferences, "inferences")


def _given(name: str, value: float | int | str, unit: str) -> Assumption:
    return Assumption(name, value, unit, "given", _option(name), _option(name))


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_amount(name: str, value: float | None) -> None:
    if value is not None and not (_is_number(value) and 0 < value <= _MOST):
        raise ScenarioError(f"{_option(name)} is a number above 0 and up to {_MOST:g}, not {value!r}.")


def _check_whole(name: str, value: float | None) -> None:
    if value is not None and not (_is_number(value) and 1 <= value <= _MOST and value == int(value)):
        raise ScenarioError(f"{_option(name)} is a whole number from 1 up, not {value!r}.")


def _check_choice(name: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise ScenarioError(f"{_option(name)} is one of {', '.join(choices)}, not {value!r}.")


SCENARIO_FIELDS = tuple(field.name for field in fields(Scenario))
