"""FLOPs of Fourier transforms (FFTW's convention, 5 n log2 n) and of deformable convolutions, by hand arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension
from estimator.workload.formulas import OpFacts
from tests.estimator.tracing import Calls, forward, meta, one, step

COMPLEX = torch.complex64


@pytest.mark.parametrize(
    ("transform", "x", "flops"),
    [
        (torch.fft.fft, meta(3, 1024, dtype=COMPLEX), 3 * 5 * 1024 * 10),
        (torch.fft.ifft, meta(3, 1024, dtype=COMPLEX), 3 * 5 * 1024 * 10),
        (torch.fft.rfft, meta(3, 1024), 3 * 5 * 1024 * 10 // 2),
        (torch.fft.irfft, meta(3, 513, dtype=COMPLEX), 3 * 5 * 1024 * 10 // 2),  # 513 numbers stand for 1024
        (torch.fft.fft, meta(3, 1024), 3 * 5 * 1024 * 10 // 2),  # of a real input
        (torch.fft.fft2, meta(3, 8, 64, 32, dtype=COMPLEX), 3 * 8 * 5 * 64 * 32 * (6 + 5)),
        (torch.fft.rfft2, meta(3, 8, 64, 32), 3 * 8 * 5 * 64 * 32 * (6 + 5) // 2),
        (torch.fft.irfft2, meta(3, 8, 64, 17, dtype=COMPLEX), 3 * 8 * 5 * 64 * 32 * (6 + 5) // 2),
        (torch.fft.fftn, meta(4, 8, 16, dtype=COMPLEX), 5 * 4 * 8 * 16 * (2 + 3 + 4)),
        (lambda x: torch.fft.fft(x, dim=0), meta(1024, 3, dtype=COMPLEX), 3 * 5 * 1024 * 10),
        (lambda x: torch.fft.rfft(x, n=2048), meta(3, 1024), 3 * 5 * 2048 * 11 // 2),  # padded
        (
            lambda x: torch.stft(x, 512, 128, window=torch.ones(512), center=False, return_complex=True),
            meta(2, 1024),
            2 * 5 * 5 * 512 * 9 // 2,
        ),
        (torch.fft.fft, meta(3, 1, dtype=COMPLEX), 0),
    ],
)
def test_fourier_transforms(transform, x, flops):
    workload = forward(Calls(lambda _, x: transform(x)), x)
    assert workload.flops == flops
    assert not workload.uncovered_ops


def _long_convolution(m, x):
    n = 2 * x.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(x, n=n) * torch.fft.rfft(m.k, n=n), n=n)[..., : x.shape[-1]]


def test_a_long_convolution_is_three_transforms_of_twice_its_length():
    net = Calls(_long_convolution, k=nn.Parameter(torch.zeros(64, 1024)))
    one_of_them = 64 * 5 * 2048 * 11 // 2
    assert forward(net, meta(1, 64, 1024)).flops == 3 * one_of_them == 10_813_440
    trained = step(net, meta(1, 64, 1024))
    assert not trained.uncovered_ops
    # the kernel's gradient: of irfft a real transform, of rfft (fft_r2c_backward pads) a complex one
    assert trained.flops_of(phase="backward") == 3 * one_of_them


@pytest.fixture(scope="module")
def torchvision():
    allow_torchvision_without_its_extension()
    return pytest.importorskip("torchvision")


@pytest.fixture
def deformed(torchvision):
    def forward(m, x):  # as torchvision.ops.deform_conv2d calls it, which refuses where its extension is missing
        no_mask, ones = x.new_zeros(x.shape[0], 1), [1] * 8
        return torch.ops.torchvision.deform_conv2d(x, m.weight, m.offset(x), no_mask, m.bias, *ones, False)

    return Calls(
        forward,
        offset=nn.Conv2d(64, 18, 3, padding=1),
        weight=nn.Parameter(torch.zeros(64, 64, 3, 3)),
        bias=nn.Parameter(torch.zeros(64)),
    )


def test_deformable_convolution(deformed):
    # 2 x 64 x 64 positions x 9 taps x 64 channels x (64 outputs + 18 offsets)
    workload = forward(deformed, meta(1, 64, 64, 64))
    assert workload.flops == 2 * 64 * 64 * 9 * 64 * (64 + 18) == 386_924_544
    assert one(workload, "deform_conv2d").kind == "conv"


def test_training_a_deformable_convolution(deformed):
    # two products of 64 outputs, and of the 18 offsets' convolution the weight's gradient (nobody asks for the input's)
    workload = step(deformed, meta(1, 64, 64, 64))
    assert workload.flops_of(phase="backward") == 2 * 64 * 64 * 9 * 64 * (2 * 64 + 18)
    assert not workload.uncovered_ops


def test_gradients_of_a_deformable_convolution_are_two_products(torchvision):
    facts = OpFacts.of(torch.ops.torchvision._deform_conv2d_backward.default)
    grad, x, weight = meta(2, 8, 10, 10), meta(2, 4, 10, 10), meta(8, 4, 3, 3)
    args = (grad, x, weight, meta(2, 18, 10, 10), meta(2, 9, 10, 10), meta(8), 1, 1, 1, 1, 1, 1, 1, 1, True)
    assert facts.kind == "conv"
    assert facts.count_flops(args, {}, (x,), []) == 2 * (2 * 2 * 10 * 10 * 8 * 4 * 9)
