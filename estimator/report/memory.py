"""What one device holds, in words: whether it fits, for the top of an answer, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from estimator.base.units import si
from estimator.base.words import printable
from estimator.footprint import Footprint
from estimator.workload.memory.need import Need


def verdict(footprint: Footprint) -> Iterator[Text]:
    """Whether training and inference fit into one device; nothing where its memory is not known."""
    for refusal in footprint.memory_warnings:
        yield Text(f"! {printable(refusal)}", style="bold red")
    yield from fitting_line(footprint)


def fitting_line(footprint: Footprint) -> Iterator[Text]:
    """What fits, in one line; nothing where nothing does."""
    need, title = footprint.memory, printable(footprint.hardware.title)
    fitting_ = [
        f"{name} {si(one.peak.total, 'B')}"
        for name, one in (("training", need.training), ("inference", need.inference))
        if one.fits
    ]
    if fitting_ and need.training.capacity_bytes:
        yield Text(f"fits: {' and '.join(fitting_)} of the {si(need.training.capacity_bytes, 'B')} of one {title}")


def memory_lines(footprint: Footprint) -> Iterator[Text]:
    """The peaks, and what they are made of, the largest part first."""
    yield Text("Memory of one device at its peak", style="bold")
    for name, what, need in (
        ("inference", "pass", footprint.memory.inference),
        ("training", "step", footprint.memory.training),
    ):
        parts = sorted(need.peak.parts().items(), key=lambda part: -part[1])
        made_of = ", ".join(f"{part.replace('_', ' ')} {si(nbytes, 'B')}" for part, nbytes in parts if nbytes)
        samples = f"{need.batch_size:,} sample{'' if need.batch_size == 1 else 's'} a {what}"
        yield Text(f"  {name} ({samples}) {si(need.peak.total, 'B')}: {made_of}")


def fitting(need: Need) -> str:
    """Whether it fits, in a word or with the largest batch that does; "" where nobody knows."""
    if need.fits is None:
        return ""
    if need.fits:
        return "yes"
    return f"no: at most {need.largest_batch:,}" if need.largest_batch else "no"
