"""The budget for building and tracing a model: what exceeds it is one sentence that names the limit, whatever the form.

Limits are set low, so that small models exceed them; layers, parameters and ops of the models are counted by hand.
"""

from __future__ import annotations

import json
import signal
import threading

import click
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from estimator import estimate, limited
from estimator.base import budget, watch
from estimator.base.budget import OverBudget
from estimator.commands import main
from estimator.commands.limits import parsed
from estimator.footprint import as_loaded
from estimator.sources import load

TINY = {
    **{"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 20},
    "num_hidden_layers": 2,
}


@pytest.fixture
def config(tmp_path):
    def write(**settings) -> str:
        (tmp_path / "config.json").write_text(
            json.dumps(settings if "model_type" in settings else {**TINY, **settings})
        )
        return str(tmp_path)

    return write


@pytest.fixture
def pickled(tmp_path):
    torch.save(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5)), tmp_path / "a.pt")
    return str(tmp_path / "a.pt")


@pytest.fixture
def code(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5))\n"
    )
    return f"{tmp_path}/net.py:net"


@pytest.mark.parametrize("form", ["pickled", "code"])
def test_layers_and_parameters_are_counted_in_every_form(request, form):
    spec = request.getfixturevalue(form)
    with limited(layers=4, parameters=3 * 4 + 4 + 4 * 5 + 5):  # three layers and the Sequential itself
        load(spec)
    with limited(layers=2), pytest.raises(OverBudget, match=r"more than 2 layers.*`--limit layers=8`"):
        load(spec)
    with limited(parameters=40), pytest.raises(OverBudget, match=r"more than 40 parameters.*--limit parameters=160"):
        load(spec)


def test_layers_of_a_config_are_counted_while_they_are_built(config):
    with limited(layers=20), pytest.raises(OverBudget, match="more than 20 layers"):
        load(config(num_hidden_layers=19))  # a count that is allowed, of layers with several parts each
    with limited(layers=20), pytest.raises(OverBudget, match=r"`--limit layers=1M`"):
        load(config(num_hidden_layers=10**6))  # told before one is built


def test_the_remedy_helps(pickled):
    spec = pickled
    with limited(layers=1), pytest.raises(OverBudget) as caught:
        estimate(spec)
    text = str(caught.value).rpartition("--limit ")[2].rstrip("`")
    for _ in range(4):  # what was counted so far is not all: it is told again until it is enough
        try:
            with limited(**parsed([text])):
                estimate(spec)
            return
        except OverBudget as error:
            text = str(error).rpartition("--limit ")[2].rstrip("`")
    pytest.fail("no limit was enough")


def test_ops_and_calls_of_layers_in_one_pass(pickled):
    loaded = load(pickled)
    with limited(ops=3), pytest.raises(OverBudget, match="more than 3 ops in one pass"):
        estimate(loaded)
    with limited(layers=3), pytest.raises(OverBudget, match="more than 3 layers"):
        estimate(loaded)  # the Sequential and its three layers are called


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"image_size": 17}, False),  # 289 elements of a square
        ({"image_size": 16}, True),
        ({"image_size": [17, 17]}, False),
        ({"image_size": [2, 128]}, True),
        ({"image_size": {"height": 17, "width": 17}}, False),
        ({"vision_config": {"image_size": 17}}, False),
    ],
)
def test_elements_of_a_picture_are_a_product(config, settings, allowed):
    with limited(elements=256):
        if allowed:
            load(config(**settings))
        else:
            with pytest.raises(OverBudget, match="more than 256 elements of a picture"):
                load(config(**settings))


def test_seconds_are_those_of_what_a_file_says(monkeypatch, config):
    monkeypatch.setattr(budget, "FILE_SECONDS", 0.1)
    with pytest.raises(OverBudget, match=r"more than 0.1 s of processor time.*--limit seconds=0.4"):
        estimate(config(num_hidden_layers=200))
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    assert signal.getsignal(signal.SIGPROF) == signal.SIG_DFL


def test_code_of_ones_own_may_take_its_time(monkeypatch, code):
    monkeypatch.setattr(budget, "FILE_SECONDS", 0.0)
    monkeypatch.setattr(budget, "FILE_MEMORY", 0.0)
    assert estimate(code).model.parameters == 41


def test_seconds_that_are_given_hold_for_code_too(tmp_path):
    (tmp_path / "slow.py").write_text("def net():\n    while True:\n        pass\n")
    with limited(seconds=0.1), pytest.raises(OverBudget, match=r"more than 0.1 s of processor time"):
        load(f"{tmp_path}/slow.py:net")


def test_memory_is_that_of_tensors_and_of_the_process(tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def tensors():\n    torch.zeros(1000, 1000, device='cpu')\n    return nn.Linear(1, 1)\n"
        "def lists():\n    kept = []\n    while True:\n        kept.append(bytearray(10**6))\n"
    )
    for name in ("tensors", "lists"):
        with limited(memory=3e6), pytest.raises(OverBudget, match=r"more than 3MB of memory.*--limit memory=12M`"):
            load(f"{tmp_path}/net.py:{name}")


def test_an_import_is_nobodys_work(tmp_path, monkeypatch):
    rung: list[str] = []
    alarm = watch.Watch(0.0, 0.0, rung.append)
    monkeypatch.setattr(watch, "_importing", lambda frame: True)
    alarm._look(signal.SIGPROF, None)
    monkeypatch.setattr(watch, "_importing", lambda frame: False)
    assert rung == []
    alarm._look(signal.SIGPROF, None)
    assert rung == ["seconds"]
    alarm._look(signal.SIGPROF, None)
    assert rung == ["seconds"]  # what was interrupted tidies up


def test_another_thread_has_no_alarm_and_works(config):
    spec, found = config(), []
    thread = threading.Thread(target=lambda: found.append(estimate(spec).model.parameters))
    thread.start()
    thread.join()
    assert found == [estimate(spec).model.parameters]


def test_nested_the_outermost_counts(pickled):
    with limited(parameters=60), budget.spending():
        budget.made("parameters", 50)
        with pytest.raises(budget.Exhausted), budget.spending():
            budget.made("parameters", 50)


def test_models_as_large_as_they_come_are_within(config):
    gpt3 = {"model_type": "gpt2", "n_embd": 12288, "n_layer": 96, "n_head": 96, "n_positions": 2048}
    loaded = as_loaded(config(**gpt3, vocab_size=50257))
    layer = 12 * 12288**2 + 13 * 12288  # by hand: attention 4 d^2 + 4 d, MLP 8 d^2 + 5 d, two norms 4 d
    assert sum(p.numel() for p in loaded.module.parameters()) == 96 * layer + (50257 + 2048) * 12288 + 2 * 12288


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("seconds=60", {"seconds": 60}),
        ("memory=4GB", {"memory": 4e9}),
        ("memory=4GiB", {"memory": 4 * 2**30}),
        ("memory=12M", {"memory": 12e6}),
        ("Layers=400k", {"layers": 400_000}),
    ],
)
def test_limits_as_they_are_written(text, limit):
    assert parsed([text]) == limit


@pytest.mark.parametrize("text", ["seconds", "second=3", "seconds=", "seconds=nan", "layers=0", "memory=GB", "ops=-1"])
def test_what_is_no_limit(text):
    with pytest.raises(click.BadParameter, match="--limit seconds=60"):
        parsed([text])


@pytest.mark.parametrize("command", [["model"], ["compare"]])
def test_the_option_of_a_command(pickled, command):
    done = CliRunner().invoke(main, [*command, pickled, "--hardware", "a100", "--limit", "ops=3"])
    assert done.exit_code in (1, 2) and "--limit ops=12" in done.output
    assert budget.limits() == budget.Limits()


@pytest.mark.parametrize("command", ["model", "compare", "search", "verify"])
def test_every_command_that_reads_models_has_it(command):
    from calibration.__main__ import main as calibration

    group = calibration if command == "verify" else main
    assert any("--limit" in option.opts for option in group.commands[command].params)
