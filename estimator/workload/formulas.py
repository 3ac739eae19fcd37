"""FLOPs, bytes and kind of every op: pure functions of shapes.

Convention: 2 FLOPs per multiply-accumulate. A formula takes the op's own arguments (tensors of any device; only
shapes, strides and dtypes are read) and its output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log2, prod
from typing import Any

from torch import Tensor

from estimator.workload.kinds import NO_TRAFFIC, kind_of, product_of
from estimator.workload.ops import CONTRACTIONS, COUNTED, Convolution, Kind
from estimator.workload.registered import registered_formula

# ---- FLOPs of contractions


def matmul_flops(a: Tensor, b: Tensor) -> int:
    """FLOPs of `a @ b`, a: (..., m, k), b: (..., k, n) or (k,): 2 m k n a matrix."""
    return 2 * a.numel() * (b.shape[-1] if b.dim() > 1 else 1)


def convolution_flops(x: Tensor, weight: Tensor, out: Tensor, transposed: bool) -> int:
    """FLOPs of one convolution: 2 x positions x weights.

    x: (n, c_in, *spatial), weight: (c_out, c_in / groups, *kernel), or (c_in, c_out / groups, *kernel) where
    transposed. Every weight is used once for every position of the output (of the input where transposed), so
    `groups` is in the weight's shape already.
    """
    positions = x if transposed else out
    batch = positions.shape[0] if positions.dim() == weight.dim() else 1
    return 2 * batch * prod(positions.shape[2 - (positions.dim() != weight.dim()) :]) * weight.numel()


def attention_flops(query: Tensor, key: Tensor, value: Tensor, *, backward: bool = False) -> int:
    """FLOPs of scaled dot-product attention over (batch, heads, length, width).

    Forward: QK^T and PV. Backward: QK^T again, then dV, dP, dQ, dK (five products; Dao et al. 2022, FlashAttention,
    appendix B). Masked and causal positions count in full, as published tables do.
    """
    scores = 2 * prod(query.shape[:-1]) * key.shape[-2]
    qk, pv = (3, 2) if backward else (1, 1)
    return scores * (qk * query.shape[-1] + pv * value.shape[-1])


def recurrent_flops(x: Tensor, weights: Sequence[Tensor], *, backward: bool = False) -> int:
    """FLOPs of a recurrent layer over x: (length, batch, features) in either order.

    Every weight matrix is used once a step and sample; the backward pass multiplies twice, for the input's and for
    the weight's gradient.
    """
    matrices = sum(w.numel() for w in weights if w.dim() == 2)
    return (4 if backward else 2) * x.shape[0] * x.shape[1] * matrices


def fft_flops(elements: int, length: int, *, real: bool) -> int:
    """FLOPs of Fourier transforms over `length` points each (a product over dimensions), of `elements` in all.

    5 n log2 n a complex transform, after Cooley and Tukey's radix 2 (1965), and half of it where one side is real: the
    convention in which FFTW's speeds are told (Frigo and Johnson 2005, The Design and Implementation of FFTW3).
    `elements` are those of the real side where there is one.
    """
    return round((2.5 if real else 5) * elements * log2(max(1, length)))


def convolution_of(args: tuple[Any, ...], *, backward: bool) -> Convolution:
    """How a call of `aten.convolution`, or of its backward pass, is set: by the order of their arguments."""
    stride, _, dilation, transposed, _, groups = args[4:10] if backward else args[3:9]
    return Convolution(int(groups), tuple(map(int, stride)), tuple(map(int, dilation)), bool(transposed))


def _grouped_mm(args: tuple[Any, ...], out: Any) -> int:
    return 2 * int(args[0].numel()) * int(out.shape[-1])


def _trilinear(args: tuple[Any, ...], out: Any) -> int:
    """`nn.Bilinear`: every element of the product of the three (broadcast) tensors is one multiply-accumulate."""
    sizes: list[list[int]] = []
    for t, expand in zip(args[:3], args[3:6], strict=True):
        size = list(t.shape)
        for dim in sorted(expand):
            size.insert(dim, 1)
        sizes.append(size)
    return int(2 * prod(max(dim) for dim in zip(*sizes, strict=True)))


def _fft(args: tuple[Any, ...], out: Any) -> int:
    """The transform's lengths are those of the real side, else of the input, in the dimensions that are named."""
    side = args[0] if args[0].is_complex() and out.is_complex() else out if args[0].is_complex() else args[0]
    return fft_flops(side.numel(), prod(side.shape[dim] for dim in args[1]), real=not side.is_complex())


def _deformed(args: tuple[Any, ...], out: Any) -> int:
    """torchvision's deformable convolution: a plain one on samples, whose interpolation is not counted."""
    return convolution_flops(args[0], args[1], out, transposed=False)


def _deformed_backward(args: tuple[Any, ...], out: Any) -> int:
    """Both products, for the samples' and for the weight's gradient, whoever asks (deform_conv2d_kernel.cpp)."""
    return 2 * convolution_flops(args[1], args[2], args[0], transposed=False)


_OF_THEIR_OWN: dict[str, Callable[[tuple[Any, ...], Any], int]] = {
    **dict.fromkeys(("_fft_r2c", "_fft_c2r", "_fft_c2c"), _fft),
    "deform_conv2d": _deformed,
    "_deform_conv2d_backward": _deformed_backward,
    "_grouped_mm": _grouped_mm,
    **dict.fromkeys(("scan", "scan_backward"), lambda args, out: int(args[1])),
    "_trilinear": _trilinear,
    "addr": lambda args, out: 2 * int(args[1].numel()) * int(args[2].numel()),
}


def _product_flops(name: str) -> Callable[[tuple[Any, ...], Any], int] | None:
    """The formula of a product by its name; None where nobody wrote one."""
    product = product_of(name)
    if product is None or name in _OF_THEIR_OWN:
        return _OF_THEIR_OWN.get(name)
    first, backward = product.first, product.backward

    def convolution(args: tuple[Any, ...], out: Any) -> int:
        transposed = convolution_of(args, backward=backward).transposed
        times = int(args[10][0]) + int(args[10][1]) if backward else 1  # the gradients of input and weight
        return times * convolution_flops(args[first], args[first + 1], args[0] if backward else out, transposed)

    formulas: dict[Kind, Callable[[tuple[Any, ...], Any], int]] = {
        "matmul": lambda args, out: matmul_flops(args[first], args[first + 1]),
        "conv": convolution,
        "attention": lambda args, out: attention_flops(*args[first : first + 3], backward=backward),
        "rnn": lambda args, out: recurrent_flops(args[0], args[1], backward=backward),
    }
    return formulas[product.kind]


_FILLS = frozenset({"fill_", "zero_", "copy_", "normal_", "uniform_", "bernoulli_", "exponential_", "random_"})
_FROM_TEMPLATE = ("new_", "zeros", "ones", "full", "rand")


# ---- bytes and launches


def nbytes(t: Tensor) -> int:
    """Bytes that a tensor occupies in memory; a broadcast dimension (stride 0) costs no traffic."""
    if not t.numel():
        return 0
    return prod(size for size, stride in zip(t.shape, t.stride(), strict=True) if stride) * t.element_size()


@dataclass(frozen=True)
class OpFacts:
    """What is known of an op before it runs: found once per overload. `registered` is a user's own formula."""

    name: str
    kind: Kind
    free: bool
    flops: Callable[[tuple[Any, ...], Any], int] | None
    causal_at: int | None = None
    registered: Callable[..., int] | None = None

    @classmethod
    def of(cls, func: Any) -> OpFacts:
        """Look up `func` (a `torch._ops.OpOverload`)."""
        name = func._overloadpacket.__name__
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        kind = kind_of(func)
        flops = _product_flops(name)
        registered = registered_formula(func._overloadpacket)
        if registered is not None and kind not in COUNTED:
            kind = "matmul"
        elif kind in COUNTED and flops is None and registered is None:
            kind = "uncovered"  # a contraction that nobody wrote a formula for is said, not counted as 0
        names = [argument.name for argument in func._schema.arguments]
        causal_at = names.index("is_causal") if "is_causal" in names else None
        return cls(name, kind, view or name in NO_TRAFFIC or func.namespace == "prim", flops, causal_at, registered)

    def is_causal(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether an attention skips what lies above the diagonal."""
        at = self.causal_at
        return at is not None and bool(args[at] if at < len(args) else kwargs.get("is_causal", False))

    def name_of(self, kwargs: Mapping[str, Any]) -> str:
        """The op's name; two algorithms behind one name are told apart."""
        return "gelu_tanh" if kwargs.get("approximate") == "tanh" else self.name

    def count_flops(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, tensors: Sequence[Tensor]) -> int:
        """FLOPs of one call: by its formula, 0 for moves, else one per element of the largest tensor."""
        if self.registered is not None:
            return self.registered(args, kwargs, out)
        if self.flops is not None:
            # (a + bi)(c + di) is four real multiply-accumulates
            times = 4 if self.kind in CONTRACTIONS and any(t.is_complex() for t in tensors) else 1
            return times * self.flops(args, out)
        if self.kind in ("copy", "index", "embedding", "uncovered"):
            return 0
        return max((t.numel() for t in tensors), default=0)

    def count_bytes(self, args: tuple[Any, ...], ins: Sequence[Tensor], outs: Sequence[Tensor]) -> tuple[int, int]:
        """(bytes read, bytes written) of one call. Each distinct input is read once, each output written once."""
        written = sum(map(nbytes, outs))
        if self.name in _FILLS or self.name.startswith(_FROM_TEMPLATE):  # the destination or template is not read
            return sum(map(nbytes, ins[1:])), written
        if self.name == "embedding":  # touched rows and the indices
            return written + nbytes(ins[1]), written
        if self.name in ("_embedding_bag", "_embedding_bag_forward_only"):  # one row of the table an index
            rows = ins[1].numel() * nbytes(ins[0]) // max(1, ins[0].shape[0])
            return rows + sum(map(nbytes, ins[1:])), written
        if self.kind == "index" and self.name in ("index", "index_select", "gather", "_unsafe_index"):
            return written + sum(map(nbytes, ins[1:])), written
        if self.name == "convolution_backward":
            return _convolution_backward_bytes(args)
        if self.kind == "rnn":
            return _recurrent_bytes(args, ins, outs)
        if self.name == "scan":  # its last argument tells the shapes of its results
            ins = args[0]
        read = sum({id(t): nbytes(t) for t in ins}.values())
        if self.name == "_grouped_mm" and ins[1].dim() == 3:  # at most one expert a routed row is read
            rows, experts = ins[0].shape[0], ins[1].shape[0]
            read -= nbytes(ins[1]) * max(0, experts - rows) // experts
        return read, written

    def count_launches(self, args: tuple[Any, ...], ins: Sequence[Tensor]) -> int:
        """Kernels that one call stands for: the gradients of a convolution, the steps of a recurrent layer."""
        if self.name == "convolution_backward":
            return sum(map(int, args[10]))
        if self.kind == "rnn":  # one matrix product and one gate kernel a step and layer (x 2 backward)
            steps, layers = map(int, args[2])
            return 2 * steps * layers * (2 if self.name == "rnn_backward" else 1)
        return 1


def _convolution_backward_bytes(args: tuple[Any, ...]) -> tuple[int, int]:
    """Each of the three gradients is a kernel of its own that reads the output's gradient again."""
    grad, x, weight, mask = args[0], args[1], args[2], args[10]
    read = written = 0
    if mask[0]:
        read, written = read + nbytes(grad) + nbytes(weight), written + nbytes(x)
    if mask[1]:
        read, written = read + nbytes(grad) + nbytes(x), written + nbytes(weight)
    if mask[2]:
        channels = weight.shape[1] if args[7] else weight.shape[0]
        read, written = read + nbytes(grad), written + channels * grad.element_size()
    return read, written


def _recurrent_bytes(args: tuple[Any, ...], ins: Sequence[Tensor], outs: Sequence[Tensor]) -> tuple[int, int]:
    """Weights once (they stay in cache over the steps), inputs, outputs, and the gates written and read once.

    Of the matrices of a layer and direction, the first is (gates x hidden, features).
    """
    x, weights, layers = ins[0], [t for t in args[1] if t.dim() == 2], int(args[2][1])
    gates = x.shape[0] * x.shape[1] * sum(w.shape[0] for w in weights[:: len(weights) // layers]) * x.element_size()
    return sum(map(nbytes, ins)) + gates, sum(map(nbytes, outs)) + gates
