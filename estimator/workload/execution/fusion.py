"""What `torch.compile` makes of ops: chains of elementwise ops, norms and reductions become one kernel each.

As inductor's default mode does it: products, attention and what sorts or scatters stay calls of libraries, all else is
generated code. A kernel loads what others made and stores what others need; what its own ops hand to each other stays
in registers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from estimator.workload.execution.dataflow import Flow, Value
from estimator.workload.ops import Kind, Op

GENERATED: frozenset[Kind] = frozenset({"elementwise", "copy", "norm", "softmax", "reduce"})
"""Kinds of ops that inductor writes kernels for, and fuses with the ops that they read from."""

_SUMMED = frozenset({"native_group_norm"})
_SUMMED_IN_TRAINING = _SUMMED | {"native_batch_norm"}
"""Norms that sum over whole pictures before they can begin; a batch norm in inference has its means."""


def fuse(ops: Sequence[Op], flows: Sequence[Flow]) -> list[Op]:
    """The kernels that run in place of `ops`, whose `flows` say what they read and write."""
    ops, flows = _without_bias(ops, flows)
    kernels = _kernels(ops, flows)
    readers: dict[Value, set[int]] = defaultdict(set)
    for index, flow in enumerate(flows):
        for value in flow.reads:
            readers[value].add(index)
    summed = _SUMMED_IN_TRAINING if any(op.phase == "backward" for op in ops) else _SUMMED
    return [ops[of[0]] if len(of) == 1 else _one(of, ops, flows, readers, summed) for of in kernels]


def _without_bias(ops: Sequence[Op], flows: Sequence[Flow]) -> tuple[list[Op], list[Flow]]:
    """The same with a convolution's bias added by an op of its own (torch/_inductor/kernel/conv.py, on a GPU)."""
    apart: list[tuple[Op, Flow]] = []
    for op, flow in zip(ops, flows, strict=True):
        if op.name != "convolution" or len(op.inputs) < 3:
            apart.append((op, flow))
            continue
        bias, bias_bytes = list(flow.reads.items())[2]
        (result, size), between = next(iter(flow.writes.items())), (-1, len(apart))
        reads = {value: of for value, of in flow.reads.items() if value != bias}
        bare = replace(op, bytes_read=op.bytes_read - bias_bytes, inputs=op.inputs[:2])
        add = replace(
            op,
            name="add",
            kind="elementwise",
            flops=prod(op.outputs[0]),
            bytes_read=size + bias_bytes,
            inputs=(*op.outputs, op.inputs[2]),
            launches=1,
            layout="contiguous",
            convolution=None,
        )
        apart += [(bare, Flow(reads, {between: size})), (add, Flow({between: size, bias: bias_bytes}, {result: size}))]
    return [op for op, _ in apart], [flow for _, flow in apart]


def _elements(op: Op) -> int:
    """Over how many elements the loop of an op runs."""
    return max((prod(shape) for shape in (*op.inputs, *op.outputs)), default=0)


def _kernels(ops: Sequence[Op], flows: Sequence[Flow]) -> list[list[int]]:
    """Indices of the ops that run as one kernel, in the order in which the last of each could run.

    An op joins the kernels that it reads from where all loop over as many elements, and where nothing else that it
    reads waits for them: that would have to run between.
    """
    kernel_of: list[int] = []
    members: dict[int, list[int]] = {}
    before: dict[int, int] = {}  # of a kernel: a bit for each op that has to run before
    bits: dict[int, int] = {}  # of a kernel: a bit for each of its ops
    maker: dict[Value, int] = {}
    for index, (op, flow) in enumerate(zip(ops, flows, strict=True)):
        sources = {kernel_of[maker[value]] for value in flow.reads if value in maker}
        joined = [
            at
            for at in sources
            if {op.kind, ops[at].kind} <= GENERATED
            and (op.phase, _elements(op)) == (ops[at].phase, _elements(ops[at]))
            and not any(before[other] & bits[at] for other in sources - {at})
        ]
        members[index] = [*sorted(i for at in joined for i in members.pop(at)), index]
        for i in members[index][:-1]:
            kernel_of[i] = index
        kernel_of.append(index)
        bits[index] = sum(1 << i for i in members[index])
        waits = 0
        for at in sources:
            waits |= before[at] if at in joined else before[at] | bits[at]
        before[index] = waits
        maker |= dict.fromkeys(flow.writes, index)
    return list(members.values())


def _one(
    of: Sequence[int],
    ops: Sequence[Op],
    flows: Sequence[Flow],
    readers: dict[Value, set[int]],
    summed: frozenset[str],
) -> Op:
    """The kernel that runs the ops `of`: it reads what is from outside once, and writes only what is read outside."""
    inside, loaded, read, written = set(of), set[Value](), 0, 0
    for index in of:
        op, flow = ops[index], flows[index]
        spared = sum(size for value, size in flow.reads.items() if value in loaded)
        read += max(0, op.bytes_read - spared) + _read_again(op, flow, summed)
        kept = sum(size for value, size in _stored(flow, inside, readers))
        written += min(op.bytes_written, kept)
        loaded |= {*flow.reads, *flow.writes}
    largest = max((ops[i] for i in of), key=lambda op: op.bytes_moved)
    last = ops[of[-1]]
    return replace(
        largest,
        name="fused",
        kind="elementwise",
        flops=sum(ops[i].flops for i in of),
        bytes_read=read,
        bytes_written=written,
        dtype=last.dtype,
        outputs=last.outputs,
        launches=1,
    )


def _read_again(op: Op, flow: Flow, summed: frozenset[str]) -> int:
    """Bytes of what a norm in `summed` reads a second time: rows over whole pictures do not stay in registers."""
    return next(iter(flow.reads.values()), 0) if op.name in summed else 0


def _stored(flow: Flow, inside: set[int], readers: dict[Value, set[int]]) -> Iterator[tuple[Value, int]]:
    """The results that have to be stored: those read outside, and the first where nobody reads it (the model's own)."""
    for place, (value, size) in enumerate(flow.writes.items()):
        if readers[value] - inside or (place == 0 and not readers[value]):
            yield value, size
