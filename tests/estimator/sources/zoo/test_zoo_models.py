"""The zoo: parameters as published, inputs at the models' own sizes, names that are not known."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from estimator import Scenario, estimate
from estimator.base.errors import ModelFileError
from estimator.commands import main
from estimator.comparing.compare import by_name
from estimator.sources import check, load
from estimator.sources.zoo.table import find, models
from tests.estimator.networks import TABLE_6

# From the papers, the cards of the models and the logs of their training; FSMT's with its sinusoidal positions.
PUBLISHED = {
    "vit-224": 86_567_656,
    "vit-384": 86_859_496,
    "cvt-13": 19_997_480,
    "resnet-50": 25_557_032,
    "xception": 22_910_480 - 54_528,  # Keras's total, without the running statistics of its batch norms
    "mnist-convnet": 34_826,  # Keras's summary
    "enso-cnn": 7_028_525,
    "enso-regression": 180 * 360 + 1,
    "detr-r50": 41_302_368 + 222_400,  # n_parameters of its log, and the frozen stem and first stage
    "deformable-detr": 39_847_265 + 222_400,  # the same
    "owlvit-b32": 153_231_879,
    "t5-base": 222_903_552,
    "wmt19": 271_847_424,
    "trocr-base": 333_921_792,
    "trocr-large": 558_226_432,
    "sd-1.5-unet": 859_520_964,
    "sd-1.5-text": 123_060_480,
    "sd-1.5-vae": 83_653_863,
    "sd-2.1-unet": 865_910_724,
    "sd-2.1-text": 340_387_840,
    "t5-11b": 11_307_321_344,
    "gpt-3": 96 * (12 * 12_288**2 + 13 * 12_288) + (50_257 + 2_048) * 12_288 + 2 * 12_288,  # 175 B
    "table-5-long": 9_413 - 13 + 301,  # printed with one bias a layer; there is one a node
    "table-5-reduction": 21_282 - 7 + 301,
    "table-5-bottleneck": 18_207 - 7 + 301,
    "table-5-growth": 16_332 - 7 + 301,
}
# Sizes on disk as "Comparative analysis of AI models" prints them, in GB of float32; positions that are computed are
# not stored.
PRINTED_GB = {
    "owlvit-b32": (0.615, 0),
    "owlvit-l14": (1.74, 0),
    "wmt19": (1.08, 2 * 1026 * 1024),
    "wmt19-6-6-base": (0.266, 2 * 1026 * 512),
    "wmt16-12-1": (0.235, 2 * 1026 * 512),
    "bert2bert-l24": (3.09, 0),
}


@pytest.mark.parametrize("name", models())
def test_parameters(name):
    loaded, entry = load(f"zoo:{name}"), find(name)
    parameters = sum(p.numel() for p in loaded.module.parameters())
    assert parameters == entry.parameters == PUBLISHED.get(name, parameters)
    assert all(p.is_meta for p in loaded.module.parameters())
    assert loaded.inputs
    assert not any("left out" in note for note in loaded.notes)


@pytest.mark.parametrize("name", PRINTED_GB)
def test_sizes_on_disk(name):
    printed_gb, computed = PRINTED_GB[name]
    assert 4e-9 * (find(name).parameters - computed) == pytest.approx(printed_gb, rel=0.004)


def test_labels_of_the_detectors():
    """41,501,895 and 40,046,792 are the same models with transformers' 2 labels: 89 rows of 256 weights and a bias."""
    for name, with_two in (("detr-r50", 41_501_895), ("deformable-detr", 40_046_792)):
        assert find(name).parameters - with_two == (91 - 2) * 257


@pytest.mark.parametrize(
    ("name", "status", "shapes"),
    [
        ("wmt16-12-1", "default", "input_ids=tokens:32 decoder_input_ids=tokens:32"),
        ("sd-1.5-vae-decoder", "detected", "4x64x64"),
        ("sd-1.5-unet", "detected", "sample=4x64x64 timestep=tokens:1 encoder_hidden_states=77x768"),
        ("mnist-convnet", "detected", "1x28x28"),
    ],
)
def test_estimates_at_its_own_size(name, status, shapes):
    footprint = estimate(f"zoo:{name}", Scenario(hardware="a100", batch_size=1))
    assert [(a.value, a.status) for a in footprint.assumptions if a.name == "input"] == [(shapes, status)]
    assert footprint.inference.energy_j.value > 0
    assert not footprint.inference_workload.uncovered_ops


def test_detectors_see_pictures_of_their_own_size():
    for name in ("detr-r50", "deformable-detr"):
        assert " ".join(map(str, load(f"zoo:{name}").inputs)) == "pixel_values=3x800x1066"


def test_names():
    assert load("zoo:SD-1.4-VAE-Decoder").name == "sd-1.5-vae-decoder"
    assert find("detr-resnet-50") is find("detr-r50")
    names = [name for entry in models().values() for name in (entry.name, *entry.also)]
    assert len(names) == len(set(names))


def test_families():
    """Table 6 is its 18 networks, Table 4 has 17 depths of 4 widths."""
    assert set(by_name(["zoo:table-6"]).values()) == {f"mlp:100x{layers}x{size}" for layers, size, *_ in TABLE_6}
    assert len(by_name(["zoo:table-4"])) == 17 * 4
    assert list(by_name(["zoo:table-5"])) == [f"table-5-{name}" for name in "long reduction bottleneck growth".split()]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("zoo:vit", "did you mean zoo:vit-224"),
        ("zoo:sd-1.5", "zoo:sd-1.5-unet, .*zoo:sd-1.5-text"),
        ("zoo:llama-nothing-like-it", "estimate zoo"),
        ("zoo:table-6", "estimate compare"),
        ("zoo:", "zoo:vit-224"),
    ],
)
def test_refused(spec, says):
    for asked in (check, load):
        with pytest.raises(ModelFileError, match=says):
            asked(spec)


def test_command_lists_every_name():
    shown = CliRunner(env={"COLUMNS": "120"}).invoke(main, ["zoo"])
    assert shown.exit_code == 0, shown.output
    for name in (*models(), "table-4", "table-5", "table-6"):
        assert f"zoo:{name}" in shown.stdout
    assert "558,226,432" in shown.stdout
