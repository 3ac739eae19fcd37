"""Our forward counts beside fvcore's (real tensors, its own tracer) and torch's: within 1% where all count the same."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from estimator.commands import main
from estimator.inputs.chosen import chosen_inputs
from estimator.lifecycle.scenario import Scenario
from estimator.report.contract import of_cross_check
from estimator.sources import LoadedModel, load
from estimator.sources.inputs import parse_input
from estimator.workload.crosscheck import PARTS, compare
from tests.estimator.networks import mlp
from tests.estimator.report.test_contract import check_keys
from tests.estimator.tracing import Calls, on_meta

COMMON = ("convolutions", "matrix products")


def _compare(net, *inputs):
    loaded = net if isinstance(net, LoadedModel) else LoadedModel(net, "net", "nn.Module", None, "")
    specs = chosen_inputs(loaded, Scenario(inputs=inputs)).specs
    return compare(loaded, specs, "float32")


def _check(found):
    """What holds for every cross-check: parts are known, sums agree, the difference is that of the sums."""
    for counts in (found.ours, found.fvcore, found.torch):
        if counts is not None:
            assert set(counts) <= set(PARTS)
            assert all(count >= 0 for count in counts.values())
    ours, theirs = (sum(counts.get(part, 0) for part in COMMON) for counts in (found.ours, found.fvcore))
    assert found.difference_from_fvcore == pytest.approx((ours - theirs) / theirs)
    assert abs(found.difference_from_fvcore) < 0.01
    if found.torch is not None:  # torch counts attention and recurrent layers among its matrix products, unrolled
        assert sum(found.torch.values()) == pytest.approx(sum(found.ours.values()), rel=0.01)


def _convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 16, 1, groups=2),
        nn.ConvTranspose2d(16, 4, 2, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 10),
    )


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: mlp(20, 30, 40, 5), "20"),
        (_convolutions, "3x16x16"),
        (lambda: nn.Sequential(nn.Conv1d(4, 8, 5), nn.ReLU(), nn.Conv1d(8, 8, 3, groups=2)), "4x50"),
        (lambda: nn.Sequential(nn.Conv3d(2, 4, 3), nn.Conv3d(4, 4, 1)), "2x8x8x8"),
        (lambda: Calls(lambda m, x: torch.einsum("bij,kj->bik", x, m.a.weight), a=nn.Linear(6, 5)), "4x6"),
    ],
)
def test_small_networks_agree_exactly(build, shape):
    found = _compare(on_meta(build), shape)
    _check(found)
    assert found.difference_from_fvcore == 0


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 64),
        ("mobilenetv3_small_100", 64),
        ("efficientnet_b0", 64),
        ("densenet121", 64),
        ("mixer_s32_224", 224),
    ],
)
def test_convolutional_and_mixing_networks_agree(name, size):
    _check(_compare(load(f"timm:{name}"), f"3x{size}x{size}"))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit3_small_patch16_224"])
def test_attention_is_set_apart(name):
    found = _compare(load(f"timm:{name}"))
    _check(found)
    assert found.ours["attention"] > 0
    assert any("attention" in note for note in found.notes)


def test_transformer_encoder_agrees():
    net = on_meta(lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True))
    found = _compare(net, "10x32")
    _check(found)
    # by hand: four projections and two layers of the feed-forward part; QK^T and PV set apart
    assert sum(found.ours.get(part, 0) for part in COMMON) == 2 * 10 * (4 * 32 * 32 + 2 * 32 * 64)
    assert found.ours["attention"] == 2 * 2 * 10 * 10 * 32


def test_recurrent_layers_are_set_apart():
    net = on_meta(
        lambda: Calls(lambda m, x: m.head(m.rnn(x)[0]), rnn=nn.LSTM(8, 16, batch_first=True), head=nn.Linear(16, 4))
    )
    found = _compare(net, "5x8")
    _check(found)
    assert found.ours["recurrent"] == 2 * 5 * 4 * 16 * (8 + 16)
    assert found.ours["matrix products"] == found.fvcore["matrix products"] == 2 * 5 * 16 * 4
    assert any("lstm" in note for note in found.notes)


def test_keyword_inputs_reach_fvcore():
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(6, 8)

        def forward(self, x, *, y=None):
            return {"out": self.a(x) + self.b(y)}

    found = _compare(on_meta(Named), "4", "y=6")
    assert str(parse_input("y=6")) == "y=6"
    _check(found)


def test_model_that_fvcore_cannot_trace_is_a_note():
    def reads(m, x):
        if x.device.type == "cpu" and not torch.jit.is_tracing():
            raise RuntimeError("no")
        raise RuntimeError("not under a tracer") if torch.jit.is_tracing() else None

    net = on_meta(lambda: Calls(lambda m, x: m.a(x) if x.is_meta else reads(m, x), a=nn.Linear(4, 4)))
    found = _compare(net, "4")
    assert found.fvcore is None
    assert found.difference_from_fvcore is None
    assert any(note.startswith("fvcore cannot trace this model") for note in found.notes)
    assert found.torch == {"matrix products": 2 * 4 * 4}


def test_large_model_is_not_given_real_tensors():
    found = _compare(on_meta(lambda: nn.Linear(40_000, 40_000)), "40000")
    assert found.fvcore is None
    assert any("6 GB" in note for note in found.notes)
    assert found.ours == found.torch == {"matrix products": 2 * 40_000**2}


def test_an_export_with_a_fixed_batch_is_counted_by_the_sample(tmp_path):
    path = tmp_path / "four.pt2"
    torch.export.save(torch.export.export(nn.Sequential(nn.Linear(6, 5), nn.ReLU()), (torch.ones(4, 6),)), path)
    model = load(str(path))
    assert model.fixed_batch == 4
    found = compare(model, model.inputs, "float32")
    assert found.ours == found.fvcore == found.torch == {"matrix products": 2 * 6 * 5}


def test_a_model_of_which_torch_counts_nothing_is_no_error():
    found = _compare(on_meta(lambda: nn.Bilinear(8, 9, 10)), "8", "9")
    assert found.ours == {"matrix products": 2 * 8 * 9 * 10}
    assert found.torch == {}
    assert "torch's counter has no formula for any op of this model" in found.notes


def _routed(m, x):
    return m.a(x[x[:, 0] > 0]).sum(0, keepdim=True)


def test_a_difference_is_explained_by_the_guesses():
    guess = "ours assumes a boolean mask in the model: every element selected (an upper bound)"
    found = _compare(on_meta(lambda: Calls(_routed, a=nn.Linear(4, 4))), "4")
    assert found.ours == {"matrix products": 2 * 4 * 4}
    assert guess in found.notes  # on fvcore's zeros no row is selected

    agreed = _compare(on_meta(lambda: Calls(lambda m, x: m.a(x)[x[:, 0] > 0], a=nn.Linear(4, 4))), "4")
    assert agreed.difference_from_fvcore == 0
    assert not any("ours assumes" in note for note in agreed.notes)


def test_a_loop_on_a_value_is_not_run_on_real_tensors():
    def endless_on_zeros(m, x):
        while x.sum() <= 0:
            x = m.a(x)
        return x

    found = _compare(on_meta(lambda: Calls(endless_on_zeros, a=nn.Linear(4, 4))), "4")
    assert found.fvcore is None
    assert any("loops on a tensor's value" in note for note in found.notes)


def test_errors_of_the_users_own_are_a_note():
    class TheirOwn(Exception):
        pass

    def fails(m, x):
        if torch.jit.is_tracing():
            raise TheirOwn("not under a tracer")
        return m.a(x)

    found = _compare(on_meta(lambda: Calls(fails, a=nn.Linear(4, 4))), "4")
    assert "fvcore cannot trace this model (TheirOwn: not under a tracer)" in found.notes
    assert found.torch == found.ours == {"matrix products": 2 * 4 * 4}


def test_model_stays_as_it_was():
    net = on_meta(_convolutions).train()
    _compare(net, "3x16x16")
    assert all(p.is_meta for p in net.parameters())
    assert all(m.training for m in net.modules())


def test_command_line(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)), path)
    told = CliRunner().invoke(main, [str(path), "--hardware", "i9-9900k", "--cross-check", "--json"])
    assert told.exit_code == 0
    answer = json.loads(told.stdout)
    found = answer.pop("cross_check")
    check_keys(answer)
    assert found["ours"] == found["fvcore"] == found["torch"] == {"matrix products": 2 * (20 * 30 + 30 * 5)}
    assert found["difference_from_fvcore"] == 0
    text = CliRunner().invoke(main, [str(path), "--hardware", "i9-9900k", "--cross-check"])
    assert text.exit_code == 0
    assert "1,500" in text.stdout
    assert "+0.00% from fvcore" in text.stdout


def test_plain_data_is_json():
    found = of_cross_check(_compare(on_meta(_convolutions), "3x16x16"))
    assert json.loads(json.dumps(found)) == found
