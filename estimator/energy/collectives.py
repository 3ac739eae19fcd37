"""How long devices take to exchange tensors: collectives of NCCL, in rings.

    time = START_S + HOP_S x rounds + volume / (REACHED x link) x (1 + sqrt(HALF_BYTES / size))

rounds and volume are those of a ring (Patarasuk and Yuan 2009): n - 1 rounds in which each device sends 1 / n of the
tensor, twice as many for an all-reduce. Fitted on NCCL's times on A100 SXM, H100 SXM, H200 and B200, 2, 4 and 8 GPUs
(ai-dynamo/aiconfigurator, Apache-2.0); above 1 MB a device left out of the fit is missed by 14, 20, 22 and 21%
(`python -m calibration.published.collectives DIRECTORY`). Only link speeds tell devices apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Collective = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]

START_S = 7.1e-6
"""To start a collective."""

HOP_S = 0.73e-6
"""Of a round."""

REACHED = 0.715
"""Of a link's bandwidth, by large tensors."""

HALF_BYTES = 4.8e6
"""Of this size, and below, a tensor takes twice what its bytes do, or longer."""


@dataclass(frozen=True)
class Link:
    """What connects the devices of a node; `bytes_per_s` is what one device sends, in B/s.

    `shared`: PCIe without a switch of its own: transfers of n devices cross one host bridge, and each pair that is
    added slows all of them (an L40S node: 20, 5 and 1.4 GB/s for 2, 4 and 8 GPUs, the same source).
    """

    name: str
    bytes_per_s: float
    shared: bool = False

    def reached_bytes_per_s(self, devices: int) -> float:
        """What a large tensor's ring reaches, in B/s."""
        share = (2 / devices) ** 2 if self.shared and devices > 2 else 1.0
        return REACHED * share * self.bytes_per_s


def collective_s(kind: Collective, size_bytes: float, devices: int, link: Link) -> float:
    """Seconds in which `devices` on one `link` exchange a tensor of `size_bytes` (that of the whole one)."""
    if devices < 2 or size_bytes <= 0:
        return 0.0
    passes = 2 if kind == "all_reduce" else 1
    rounds = passes * (devices - 1)
    moving_s = rounds / devices * size_bytes / link.reached_bytes_per_s(devices)
    return START_S + HOP_S * rounds + moving_s * (1 + math.sqrt(HALF_BYTES / size_bytes))


@dataclass(frozen=True)
class Cluster:
    """Devices in nodes: `link` inside of one, `network` between nodes, where each device has an adapter of its own."""

    devices: int
    nodes: int
    link: Link
    network: Link

    def collective_s(self, kind: Collective, size_bytes: float) -> float:
        """Seconds of a collective of all devices: inside of the nodes first, then each part of it between them."""
        inside = self.devices // self.nodes
        within_s = collective_s(kind, size_bytes, inside, self.link)
        return within_s + collective_s(kind, size_bytes / inside, self.nodes, self.network)
