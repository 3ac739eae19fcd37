"""torch's lists as they are found, against the header that the same torch ships for writers of extensions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from estimator.workload.execution.autocast_lists import autocast_lists

_HEADER = Path(torch.__file__).parent / "include" / "ATen" / "autocast_mode.h"
_MACROS = {
    "AT_FORALL_LOWER_PRECISION_FP": "lower",
    "AT_FORALL_FP32": "float32",
    "AT_FORALL_FP32_SET_OPT_DTYPE": "told float32",
    "AT_FORALL_PROMOTE": "widest",
}


def _in_header(macro):
    """Names of a list, as `conv2d.default`."""
    text = _HEADER.read_text(encoding="utf-8")
    body = re.search(rf"#define {macro}\(_\)((?:.*\\\n)+.*)", text)
    entries = re.findall(r"_\((\w+)(?:, (\w+))?\)", body.group(1))
    return {f"{name}.{overload or 'default'}" for name, overload in entries}


def _found(lists, rule):
    return {f"{op.__name__}" for op, cast in autocast_lists(lists).items() if cast.rule == rule}


@pytest.mark.skipif(not _HEADER.exists(), reason="this torch has no headers")
@pytest.mark.parametrize("macro", _MACROS)
def test_lists_of_a_gpu_are_those_of_the_header(macro):
    cudnn_alone = {"cudnn_convolution.default", "cudnn_convolution_transpose.default"}  # in no other device's list
    assert _found("cuda", _MACROS[macro]) - cudnn_alone == _in_header(macro)


def test_every_op_that_has_a_kernel_of_autocast_is_told():
    for lists, key in (("cuda", "AutocastCUDA"), ("cpu", "AutocastCPU")):
        assert len(autocast_lists(lists)) == len(torch._C._dispatch_get_registrations_for_dispatch_key(key))


def test_the_cpu_has_a_list_of_its_own():
    # torch's documentation, "CPU Ops that can autocast": no norms, but fft and linear algebra in float32
    assert {"linear.default", "conv2d.default", "bmm.default"} <= _found("cpu", "lower")
    assert {"fft_fft.default", "mse_loss.default", "linalg_svd.default"} <= _found("cpu", "float32")
    assert {"cat.default", "stack.default"} <= _found("cpu", "widest")
    assert torch.ops.aten.layer_norm.default not in autocast_lists("cpu")


def test_what_is_refused_says_so_in_torchs_words():
    (cast,) = [c for c in autocast_lists("cuda").values() if c.rule == "refused"]
    assert "binary_cross_entropy" in cast.sentence


def test_asking_leaves_autocast_as_it_was():
    autocast_lists.cache_clear()
    before = torch.get_autocast_dtype("cuda")
    autocast_lists("cuda")
    assert not torch.is_autocast_enabled("cuda")
    assert torch.get_autocast_dtype("cuda") is before
