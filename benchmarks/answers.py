"""Whether a change of structure changed an answer: `estimate --json` of many models on many devices, kept and compared.

python -m benchmarks.answers build/before                # of the code as it is: 12 models on 4 devices, and more
python -m benchmarks.answers build/after --than build/before    # again, and every file that differs is named
"""

from __future__ import annotations

import argparse
import shutil
import sys
from importlib.metadata import entry_points
from pathlib import Path

import torch
from click.testing import CliRunner
from torch import nn

DEVICES = ("a10", "t4", "rtx-5000", "i9-9900k")
MODELS = (
    "convolutional.pt",
    "recurrent.pt",
    "encoder.pt",
    "convolutional.pt2",
    "llama",
    "timm:resnet18",
    "timm:vit_tiny_patch16_224",
    "timm:mobilenetv3_small_050",
    "torchvision:densenet121",
    "transformers:bert",
    "mlp:100x10x50",
    "net.py:Net",
)
MORE = {
    "compare": "compare mlp:100x[2,10]x[50] convolutional.pt --sweep batch-size=1,64 --sweep hardware=a10,i9-9900k",
    "search": "search space.py --trials 12 --studies 3 --sampler random --epochs 5 --samples 1000 --hardware t4",
    "lifetime": "timm:resnet18 --inferences 1e6 --trials 20 --dtype bfloat16 --clock-mhz 900 --hardware a10",
}
_LLAMA = """{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 256, "num_hidden_layers": 4,
"intermediate_size": 700, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 1000}"""
_NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, groups=1, padding=1)
        self.rest = nn.Sequential(nn.ReLU(), nn.Conv2d(16, 16, 3, groups=16), nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.rest(self.first(x)))
"""


def write_models(folder: Path) -> None:
    """The files among `MODELS`, in `folder`."""
    torch.manual_seed(0)
    convolutional = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 5, stride=2), nn.GELU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    torch.save(convolutional, folder / "convolutional.pt")
    torch.save(nn.LSTM(64, 128, 2, batch_first=True), folder / "recurrent.pt")
    layer = nn.TransformerEncoderLayer(128, 4, 256, batch_first=True)
    torch.save(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), folder / "encoder.pt")
    sizes = ({0: torch.export.Dim("batch")},)
    torch.export.save(
        torch.export.export(convolutional.eval(), (torch.rand(2, 3, 32, 32),), dynamic_shapes=sizes),
        folder / "convolutional.pt2",
    )
    (folder / "llama").mkdir(exist_ok=True)
    (folder / "llama" / "config.json").write_text(_LLAMA)
    (folder / "net.py").write_text(_NET)
    shutil.copy(Path(__file__).parents[1] / "examples" / "search_space.py", folder / "space.py")


def _arguments(model: str, folder: Path) -> str:
    return str(folder / model) if ":" not in model or model.startswith("net.py") else model


def answer(folder: Path) -> None:
    """Write every answer to a file of its own in `folder`."""
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    write_models(models)
    (command,) = entry_points(group="console_scripts", name="estimate")
    main, runner = command.load(), CliRunner()

    def ask(name: str, arguments: list[str]) -> None:
        result = runner.invoke(main, [*arguments, "--json"])
        said = result.output.replace(str(models), "")
        print(f"{name}: exit {result.exit_code}, {len(said):,} characters", file=sys.stderr, flush=True)
        (folder / f"{name.replace(':', '_')}.json").write_text(said)

    for model in MODELS:
        for device in DEVICES:
            ask(f"{model}-{device}", [_arguments(model, models), "--hardware", device])
    known = {"space.py", *MODELS}
    for name, line in MORE.items():
        ask(name, [_arguments(word, models) if word in known else word for word in line.split()])


def differing(before: Path, after: Path) -> list[str]:
    """Names of the answers that are not equal, byte by byte."""
    names = sorted({path.name for folder in (before, after) for path in folder.glob("*.json")})
    assert names, f"no answers in {before}"

    def told(folder: Path, name: str) -> bytes:
        return (folder / name).read_bytes() if (folder / name).exists() else b""

    return [name for name in names if told(before, name) != told(after, name)]


def main() -> None:
    """Write, and compare; exits 1 where an answer differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answers", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the answers go")
    parser.add_argument("--than", type=Path, metavar="FOLDER", help="answers from before")
    arguments = parser.parse_args()
    answer(arguments.folder)
    if arguments.than:
        different = differing(arguments.than, arguments.folder)
        print("\n".join([*different, f"{len(different)} of {len(list(arguments.folder.glob('*.json')))} differ"]))
        sys.exit(bool(different))


if __name__ == "__main__":
    main()
