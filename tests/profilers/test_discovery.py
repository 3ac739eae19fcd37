"""What a machine can read and what it lacks, on simulated machines; codecarbon without network and without files."""

from __future__ import annotations

import socket
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from profilers.cpu.pyrapl import PyRaplMeter
from profilers.cpu.rapl import RaplMeter
from profilers.discovery import Discovery, find_meters
from profilers.errors import MeterError
from profilers.measurement import Measurement
from profilers.modelled import ModelledMeter
from profilers.reading import Component, Reading
from profilers.report import joules, measurement_lines, meters_lines, seconds
from profilers.session import measure
from tests.profilers.cpu.compare_on_trees import heads, pyrapl_on, rows
from tests.profilers.cpu.trees import CASES, mirrored_dies, package_and_dram, unreadable, wrap
from tests.profilers.simulation import Clock, Counter, SimulatedGpu, SimulatedNvml, Tree, denied, window


def no_gpu() -> SimulatedNvml:
    return SimulatedNvml([], Clock())


def names(found: Discovery) -> list[str]:
    return [meter.name for meter in found.meters]


def test_a_machine_with_everything(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "powercap")
    tree.add("intel-rapl:0", "package-0", Counter(50.0))
    found = find_meters(nvml=SimulatedNvml([SimulatedGpu()], Clock()), root=tree.root)
    assert names(found) == ["nvml", "rapl"]
    assert found.missing == ()
    text = "\n".join(meters_lines(found))
    assert "gpu-0" in text and "package-0" in text and "remedy" not in text and "modelled" not in text.lower()


def test_a_machine_with_nothing_is_modelled_and_says_why_and_what_helps(tmp_path: Path) -> None:
    found = find_meters(nvml=no_gpu(), root=tmp_path / "none")
    assert names(found) == ["codecarbon"]
    assert [lacking.name for lacking in found.missing] == ["nvml", "rapl"]
    assert all(lacking.why and lacking.remedy for lacking in found.missing)
    assert "MODELLED" in "\n".join(meters_lines(found))


def test_an_empty_tree_says_so(tmp_path: Path) -> None:
    found = find_meters(nvml=no_gpu(), root=tmp_path)
    assert "no RAPL zone" in found.missing[1].why


def test_an_unreadable_package_is_missing_with_the_remedy_and_the_cpu_is_modelled(tmp_path: Path) -> None:
    case = unreadable(tmp_path / "powercap")
    with denied(*case.hidden):
        found = find_meters(nvml=no_gpu(), root=case.tree.root)
    assert names(found) == ["rapl", "codecarbon"]
    assert "sudo chmod" in found.missing[1].remedy


def test_a_driver_that_does_not_answer_is_missing(tmp_path: Path) -> None:
    class Broken(SimulatedNvml):
        def nvmlInit(self) -> None:
            raise self.NVMLError("Driver Not Loaded")

    found = find_meters(["nvml"], nvml=Broken([], Clock()), root=tmp_path)
    assert found.meters == ()
    assert "Driver Not Loaded" in found.missing[0].why
    assert "nvidia-smi" in found.missing[0].remedy


def test_hidden_gpus_are_missing_with_the_remedy(tmp_path: Path) -> None:
    found = find_meters(["nvml"], nvml=SimulatedNvml([SimulatedGpu()], Clock()), root=tmp_path, visible="")
    assert "hides every GPU" in found.missing[0].why
    assert "unset it" in found.missing[0].remedy


def test_unknown_names_are_refused() -> None:
    with pytest.raises(MeterError, match="choose from"):
        find_meters(["wattmeter"], nvml=no_gpu())


def test_codecarbon_models_without_network_files_or_sensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"network: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    with measure([ModelledMeter()], policy=None) as opened:
        sum(range(3_000_000))
    seen = opened.measurement
    assert [reading.status for reading in seen.readings] == ["modelled", "modelled"]
    assert seen.modelled.energy_j is not None and seen.modelled.energy_j > 0
    assert seen.total.energy_j is None
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    for reading in seen.readings:
        assert any("modelled" in note for note in reading.notes)


@pytest.mark.parametrize("kwh", [None, 0.0, -1.0, float("nan"), "x"])
def test_what_codecarbon_cannot_model_is_absent(kwh: Any) -> None:
    data = SimpleNamespace(cpu_energy=kwh, ram_energy=1e-6)
    tracker = SimpleNamespace(start=lambda: None, stop=lambda: None, final_emissions_data=data)
    meter = ModelledMeter(SimpleNamespace(OfflineEmissionsTracker=lambda **options: tracker), Clock())
    take = meter.prepare()
    take.start()
    take.stop()
    cpu, memory = take.readings()
    assert (cpu.status, cpu.energy_j) == ("absent", None)
    assert (memory.status, memory.energy_j) == ("modelled", pytest.approx(3.6))


def test_the_report_names_the_status_of_every_figure(tmp_path: Path) -> None:
    clock = Clock()
    case = package_and_dram(tmp_path / "powercap")
    with case.on(clock), denied(case.tree.energy_file("intel-rapl:0:0")):
        seen = window(RaplMeter(case.tree.root, clock), clock, 60.0)
    model = Reading(Component("memory", "memory", "codecarbon"), "modelled", 60.0, 300.0)
    text = "\n".join(measurement_lines(Measurement(60.0, (*seen.values(), model))))
    assert "package-0     measured   7200 J +- 0.12 J, 120 W\n" in text
    assert "dram-0        absent     no permission to read" in text
    assert "memory        modelled   300 J, 5 W\n" in text
    assert "read from sensors        unknown: dram-0 absent; package-0 alone is no total\n" in text
    assert "MODELLED, not measured   300 J modelled (memory)\n" in text


def test_figures_for_people() -> None:
    assert joules(1234.0) == "1234 J"
    assert joules(7_200_000.0) == "7,200,000 J (2 kWh)"
    assert seconds(1.5) == "1.5 s"
    assert seconds(7260.0) == "7,260 s (2 h 1 min)"


def test_pyrapl_agrees_where_it_works(tmp_path: Path) -> None:
    import_module("pyRAPL")
    case, clock = package_and_dram(tmp_path / "powercap"), Clock()
    with case.on(clock), pyrapl_on(case.tree.root):
        seen = window(PyRaplMeter(clock=clock), clock, 60.0)
    assert seen["package-0"].energy_j == pytest.approx(7200.0, rel=0.01)
    assert seen["dram-0"].energy_j == pytest.approx(1080.0, rel=0.01)


def test_pyrapl_s_wrap_is_absent_and_its_failure_names_the_remedy(tmp_path: Path) -> None:
    import_module("pyRAPL")
    case, clock = wrap(tmp_path / "powercap"), Clock()
    with case.on(clock), pyrapl_on(case.tree.root):
        seen = window(PyRaplMeter(clock=clock), clock, 60.0)
    assert seen["package-0"].status == "absent"
    dies = mirrored_dies(tmp_path / "dies")
    with pyrapl_on(dies.tree.root), pytest.raises(MeterError, match="meter `rapl`"):
        PyRaplMeter()


def test_the_table_of_the_docs_is_what_the_three_give_today() -> None:
    import_module("pyRAPL")
    docs = (Path(__file__).parents[2] / "docs" / "measuring.md").read_text(encoding="utf-8")
    if f"| {' | '.join(heads())} |" not in docs:
        pytest.skip(
            "the docs are of other versions: put what `python -m tests.profilers.cpu.compare_on_trees` prints into "
            "docs/measuring.md, then run `pytest tests/profilers/test_discovery.py`"
        )
    table = rows()
    assert len(table) == len(CASES)
    for row in table:
        assert f"| {' | '.join(row)} |" in docs
