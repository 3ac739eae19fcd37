"""The options of a scenario, which several commands share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import click

from estimator.commands.values import integer, number
from estimator.hardware.links import FORMS
from estimator.hardware.settings import HOSTS, LOOPS, TF32_CLASSES
from estimator.lifecycle.parallel import SHARDS
from estimator.lifecycle.scenario import DTYPES, OPTIMIZER_NAMES

_F = TypeVar("_F", bound=Callable[..., Any])


def _auto_in_any_case(ctx: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """`AUTO` is auto; the names of devices are read by the catalogue."""
    return "auto" if name is not None and name.strip().lower() == "auto" else name


_DTYPE = "Of weights and activations.  [default: float32, or the model's own where that is narrower]"

OPTIONS: Mapping[str, Callable[[_F], _F]] = {
    "epochs": click.option("--epochs", type=number, help="Passes over the samples.  [default: 10]"),
    "samples": click.option("--samples", type=number, help="Samples in the training set.  [default: 100000]"),
    "batch_size": click.option("--batch-size", type=integer, help="Samples of a training step.  [default: 32]"),
    "inference_batch_size": click.option(
        "--inference-batch-size", type=integer, help="Samples of an inference.  [default: 1]"
    ),
    "inputs": click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="SHAPE",
        help="One sample's shape: 3x224x224, tokens:512, 512xBx64 (B: batch), NAME=SHAPE; repeat for several inputs.",
    ),
    "no_batch": click.option(
        "--no-batch", is_flag=True, help="The input has no batch dimension (a graph, a cloud): a step is one sample."
    ),
    "dtype": click.option("--dtype", metavar="|".join(DTYPES), help=_DTYPE),
    "autocast": click.option(
        "--autocast",
        metavar="bfloat16|float16",
        help="Weights in float32, products in this dtype, as `torch.autocast`.  [default: none]",
    ),
    "checkpointing": click.option(
        "--checkpointing",
        metavar="full",
        help="Run the forward pass of repeated blocks again in the backward pass.  [default: none]",
    ),
    "compile": click.option(
        "--compile",
        metavar="default|reduce-overhead",
        help="The mode of `torch.compile` that the model runs in.  [default: none, eager]",
    ),
    "accumulate": click.option(
        "--accumulate",
        type=integer,
        metavar="N",
        help="Batches in one step of the optimizer.  [default: 1]",
    ),
    "optimizer": click.option(
        "--optimizer", metavar="|".join(OPTIMIZER_NAMES), help="Of the training.  [default: adam]"
    ),
    "freeze": click.option(
        "--freeze",
        multiple=True,
        metavar="PATTERN",
        help="Parameters or modules that are not trained, such as 'layer[1-3].*'; repeatable.",
    ),
    "overhead": click.option(
        "--overhead", type=float, help="Force the share of training that is not the forward pass (the paper: 0.8)."
    ),
    "trials": click.option(
        "--trials", type=integer, metavar="H", help="Trials of an architecture search, whose energy is added."
    ),
    "search_epochs": click.option("--search-epochs", type=number, help="Epochs of one trial.  [default: --epochs]"),
    "search_samples": click.option("--search-samples", type=number, help="Samples of one trial.  [default: --samples]"),
    "inferences": click.option(
        "--inferences", type=number, metavar="N", help="Inferences over the lifetime, whose energy is added."
    ),
    "hardware": click.option(
        "--hardware",
        metavar="NAME",
        callback=_auto_in_any_case,
        help="A device or calibrated profile (see `estimate hardware`).  [default: auto, what this machine has]",
    ),
    "clock_mhz": click.option(
        "--clock-mhz", type=float, metavar="MHZ", help="The clock that a GPU is locked at.  [default: its boost clock]"
    ),
    "power_limit": click.option(
        "--power-limit",
        type=float,
        metavar="W",
        help="The power limit that a GPU is set to.  [default: its board's own]",
    ),
    "host": click.option(
        "--host", metavar="|".join(HOSTS), help="How fast a GPU's host launches.  [default: as published ones]"
    ),
    "tf32": click.option(
        "--tf32",
        metavar="|".join(TF32_CLASSES),
        help="float32 arithmetic that may run in TF32.  [default: convolutions, as in PyTorch]",
    ),
    "cores": click.option(
        "--cores",
        type=float,
        metavar="N",
        help="Cores of a CPU that the work may use.  [default: all; here, those that this process may use]",
    ),
    "channels_last": click.option(
        "--channels-last", is_flag=True, help="Pictures and weights in memory with their channels last."
    ),
    "optimizer_loop": click.option(
        "--optimizer-loop",
        metavar="|".join(LOOPS),
        help="How the optimizer goes over parameters.  [default: foreach on a GPU, single on a CPU, as in PyTorch]",
    ),
    "devices": click.option(
        "--devices", type=integer, metavar="N", help="Devices that share each batch of a training.  [default: 1]"
    ),
    "nodes": click.option("--nodes", type=integer, metavar="M", help="Nodes that hold the devices.  [default: 1]"),
    "shard": click.option(
        "--shard",
        metavar="|".join(SHARDS),
        help="What devices keep in parts: nothing (DDP), ZeRO's stages, all (FSDP).  [default: none]",
    ),
    "link": click.option("--link", metavar="NAME", help=f"What connects devices: {FORMS}.  [default: the board's own]"),
    "region": click.option(
        "--region", metavar="NAME", help="A country or cloud region (see `estimate regions`).  [default: world]"
    ),
    "carbon_intensity": click.option(
        "--carbon-intensity", type=float, metavar="G", help="Of the grid, in gCO2e/kWh.  [default: the region's]"
    ),
    "where": click.option(
        "--where", metavar="PLACE", help="datacenter, workstation or laptop: the last two have a PUE of 1."
    ),
    "host_share": click.option(
        "--host-share", type=float, help="What the rest of the node draws over the device.  [default: 0.36]"
    ),
    "pue": click.option("--pue", type=float, help="Facility energy over IT energy.  [default: 1.58]"),
}
"""One for each field of a `Scenario`, by its name."""

strict_option = click.option("--strict", is_flag=True, help="Refuse an input whose sizes would be guessed.")


def code_options(command: _F) -> _F:
    """Gives a command what the code that builds a model is called with, as `arguments` and `checkpoint`."""
    for option in (
        click.option(
            "--checkpoint",
            metavar="FILE",
            help="Whose hyper_parameters are the code's arguments, and whose weights the model must have.",
        ),
        click.option(
            "--arg",
            "arguments",
            multiple=True,
            metavar="NAME=VALUE",
            help="An argument for the code that builds MODEL (file.py:Net): a Python literal, else text; repeatable.",
        ),
    ):
        command = option(command)
    return command


def scenario_options(*, without: Collection[str] = ()) -> Callable[[_F], _F]:
    """Gives a command the options of a scenario, but for those of the fields `without`."""

    def give(command: _F) -> _F:
        for name, option in reversed(tuple(OPTIONS.items())):
            if name not in without:
                command = option(command)
        return command

    return give
