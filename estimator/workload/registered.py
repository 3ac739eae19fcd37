"""FLOP formulas that users register for ops of their own, here or with torch's own counter: one registry holds both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch._ops import OpOverload, OpOverloadPacket
from torch.utils.flop_counter import flop_registry, shape_wrapper

from estimator.base.errors import FOREIGN_ERRORS, InputError

Formula = TypeVar("Formula", bound=Callable[..., int])
Counting = Callable[[tuple[Any, ...], dict[str, Any], Any], int]
"""FLOPs of one call by its arguments, its keyword arguments and its result."""


def _packet(op: Any) -> OpOverloadPacket:
    """The op behind `torch.ops.mine.scan`, `torch.ops.mine.scan.default` or what `torch.library.custom_op` returns."""
    op = getattr(op, "_opoverload", op)
    if isinstance(op, OpOverload):
        op = op.overloadpacket
    if not isinstance(op, OpOverloadPacket):
        raise InputError(
            f"register_flops takes an op of torch.library, such as torch.ops.mine.scan, not a {type(op).__name__}; "
            "plain functions need none: the ops that they call are counted."
        )
    return op


def register_flops(op: Any) -> Callable[[Formula], Formula]:
    """A decorator: the function below it tells the FLOPs of `op`, an operator of your own.

        @register_flops(torch.ops.mine.scaled_product)
        def _(x_shape, weight_shape, *, out_shape):
            return 2 * math.prod(x_shape) * weight_shape[-1]

    It is called with the op's own arguments, every tensor as its shape, and the shape of the result, and counts 2 per
    multiply-accumulate for the whole batch. What it counts is priced like a matrix product. Registered again, the last
    one holds. `torch.utils.flop_counter.FlopCounterMode` counts by it too, and formulas that were given to
    `torch.utils.flop_counter.register_flop_formula` need not be registered here. Raises `InputError` where
    `op` is none.
    """
    packet = _packet(op)

    def register(formula: Formula) -> Formula:
        flop_registry[packet] = shape_wrapper(formula)  # type: ignore[no-untyped-call]
        return formula

    return register


def registered_formula(packet: OpOverloadPacket) -> Counting | None:
    """The formula that a user registered for an op; None where there is none, or it is torch's own.

    What it returns raises `InputError` where the formula fails, or gives no number of FLOPs.
    """
    formula = flop_registry.get(packet)
    if formula is None or formula.__module__.startswith("torch."):
        return None

    def count(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
        try:
            flops = formula(*args, **kwargs, out_val=out)
            found = int(flops)
        except FOREIGN_ERRORS as error:
            raise InputError(
                f"The FLOP formula registered for {packet} fails: {type(error).__name__}: {error}; it is called with "
                "the op's arguments, tensors as shapes, and out_shape."
            ) from error
        if found < 0 or found != flops:
            raise InputError(
                f"The FLOP formula registered for {packet} gives {flops}; return a whole number from 0 up."
            )
        return found

    return count
