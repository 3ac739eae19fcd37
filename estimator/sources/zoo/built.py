"""A model of the zoo, built on the meta device."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from torch import nn

from estimator.sources.building import on_meta
from estimator.sources.inputs import InputSpec, parse_input
from estimator.sources.libraries import huggingface
from estimator.sources.libraries.zoo import load_timm
from estimator.sources.loaded import LoadedModel
from estimator.sources.mlp import mlp
from estimator.sources.zoo.networks import NETWORKS
from estimator.sources.zoo.table import Entry, find


def load_zoo(name: str) -> LoadedModel:
    """`zoo:NAME`, with the inputs that the table gives for it; raises `ModelFileError`."""
    entry = find(name)
    module, notes = _built(entry)
    specs = tuple(map(_spec, entry.inputs))
    told = f"the zoo: {entry.assumed} assumed" if entry.assumed else "the zoo: the model's own sizes"
    notes = (*notes, entry.note) if entry.note else notes
    return LoadedModel(module, entry.name, f"zoo: {entry.title}", specs, told, notes=notes)


def _spec(text: str) -> InputSpec:
    """One of a row's inputs; "name=int64:" is one number a sample, which `--input` has no form for."""
    return replace(parse_input(f"{text}1"), shape=()) if text.endswith(":") else parse_input(text)


def _built(entry: Entry) -> tuple[nn.Module, tuple[str, ...]]:
    """The model, and what was left out of its settings."""
    if entry.config:
        module, notes = huggingface.of_settings(dict(entry.config))
        return (nn.Sequential(*map(module.get_submodule, entry.parts)) if entry.parts else module), notes
    if entry.timm:
        return load_timm(entry.timm).module, ()
    if entry.widths:
        return mlp(prod(parse_input(entry.inputs[0]).shape), *entry.widths), ()
    return on_meta(NETWORKS[entry.network]), ()
