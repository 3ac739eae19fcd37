import sys

import pytest

from estimator.hardware import machine, selection
from estimator.hardware.machine import Seen, cpu_name, detect, gpu_names, present

XEON = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R) W-2155 CPU @ 3.30GHz\n"
VIRTUAL = "processor\t: 0\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R) Processor\n"
GRAVITON = "processor\t: 0\nBogoMIPS\t: 2100.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"


class FakeNvml:
    class NVMLError(Exception):
        pass

    def __init__(self, *names, broken=False):
        self.names, self.broken, self.open = list(names), broken, False

    def nvmlInit(self):
        if self.broken:
            raise self.NVMLError("driver not loaded")
        self.open = True

    def nvmlShutdown(self):
        self.open = False

    def nvmlDeviceGetCount(self):
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index):
        assert self.open
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid != "MIG-1":
            raise self.NVMLError("not found")
        return -1

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{'abc'[handle]}1234"

    def nvmlDeviceGetName(self, handle):
        return "NVIDIA A100-SXM4-40GB MIG 1g.5gb" if handle < 0 else self.names[handle]


@pytest.fixture(autouse=True)
def no_visible_devices(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_gpus_come_first_then_the_cpu():
    nvml = FakeNvml("NVIDIA A10", b"Tesla T4")
    xeon = Seen("cpu", "Intel(R) Xeon(R) W-2155 CPU @ 3.30GHz")
    assert present(nvml, XEON) == (Seen("gpu", "NVIDIA A10"), Seen("gpu", "Tesla T4"), xeon)
    assert not nvml.open, "NVML is closed again"


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ("B",)),
        ("2,0", ("C", "A")),
        (" 1 , 2 ", ("B", "C")),
        ("", ()),
        ("-1", ()),
        ("0,-1,1", ("A",)),
        ("0,7,1", ("A",)),
        ("GPU-b1234", ("B",)),
        ("GPU-c", ("C",)),
        ("GPU-", ()),
        ("GPU-x,0", ()),
        ("MIG-1", ("NVIDIA A100-SXM4-40GB MIG 1g.5gb",)),
        ("MIG-2,0", ()),
        ("all", ()),
        ("²", ()),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(monkeypatch, visible, names):
    assert gpu_names(FakeNvml("A", "B", "C"), visible) == names
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_names(FakeNvml("A", "B", "C")) == names


def test_without_a_driver_or_the_library_there_are_no_gpus(monkeypatch):
    assert gpu_names(FakeNvml("A", broken=True)) == ()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_names() == ()


def test_an_error_that_is_not_of_nvml_is_not_hidden():
    nvml = FakeNvml("A")
    nvml.nvmlDeviceGetCount = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        gpu_names(nvml)
    assert not nvml.open


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (XEON, "Intel(R) Xeon(R) W-2155 CPU @ 3.30GHz"),
        (GRAVITON, "Neoverse-V1"),
        ("Model\t\t: Raspberry Pi 4 Model B Rev 1.4\n", "Raspberry Pi 4 Model B Rev 1.4"),
    ],
)
def test_the_cpu_is_named_by_cpuinfo(cpuinfo, name):
    assert cpu_name(cpuinfo) == name


def test_the_cpu_is_named_by_the_platform_where_cpuinfo_does_not_tell(monkeypatch):
    monkeypatch.setattr("platform.processor", lambda: "aarch64")
    assert cpu_name("processor\t: 0\nmodel\t: 85\n") == "aarch64"
    monkeypatch.setattr("platform.processor", lambda: "")
    assert cpu_name("") is None
    assert present(FakeNvml(), "") == ()


def test_the_cpu_is_named_on_other_systems(monkeypatch, tmp_path):
    monkeypatch.setattr("platform.processor", lambda: "Intel64 Family 6")
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert cpu_name() == "Intel64 Family 6"
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "missing")
    assert cpu_name() == "Intel64 Family 6"
    (tmp_path / "missing").write_text(XEON)
    assert cpu_name() == "Intel(R) Xeon(R) W-2155 CPU @ 3.30GHz"


def test_the_cpu_is_named_by_sysctl_on_macos(monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    told = []

    def run(command, **_):
        told.append(command)
        return type("Done", (), {"stdout": "Apple M1 Max\n"})()

    monkeypatch.setattr("subprocess.run", run)
    assert cpu_name() == "Apple M1 Max"
    assert told == [["sysctl", "-n", "machdep.cpu.brand_string"]]

    def missing(command, **_):
        raise FileNotFoundError(command)

    monkeypatch.setattr("subprocess.run", missing)
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert cpu_name() == "arm"


I9 = Seen("cpu", "Intel(R) Core(TM) i9-9900K CPU @ 3.60GHz")


@pytest.mark.parametrize(
    ("gpus", "cpu", "device", "name"),
    [
        (["NVIDIA A10"], I9, "nvidia-a10", "NVIDIA A10"),
        (["NVIDIA GeForce GT 710", "Tesla T4"], I9, "nvidia-t4", "Tesla T4"),
        ([], I9, "intel-core-i9-9900k", I9.name),
        ([], Seen("cpu", "Intel(R) Xeon(R) Processor"), None, "Intel(R) Xeon(R) Processor"),
        ([], Seen("cpu", "Neoverse-V1"), None, "Neoverse-V1"),
        # a GPU that the catalogue lacks: never the CPU, never a namesake
        (["NVIDIA GeForce RTX 5010 SuperNew"], I9, None, "NVIDIA GeForce RTX 5010 SuperNew"),
        (["NVIDIA GeForce RTX 3060 Laptop GPU"], I9, None, "NVIDIA GeForce RTX 3060 Laptop GPU"),
        (["NVIDIA GeForce RTX 4090 Laptop GPU"], I9, None, "NVIDIA GeForce RTX 4090 Laptop GPU"),
        (["NVIDIA GeForce RTX 2080 with Max-Q Design"], I9, None, "NVIDIA GeForce RTX 2080 with Max-Q Design"),
        (["NVIDIA GH200 480GB"], I9, None, "NVIDIA GH200 480GB"),
        (["NVIDIA A100-SXM4-80GB MIG 1g.10gb"], I9, None, "NVIDIA A100-SXM4-80GB MIG 1g.10gb"),
        (["Intel(R) Core(TM) i9-9900K"], I9, None, "Intel(R) Core(TM) i9-9900K"),  # of the wrong kind
    ],
)
def test_the_best_known_device_is_detected_as_it_was_seen(gpus, cpu, device, name):
    found, seen = detect([*(Seen("gpu", gpu) for gpu in gpus), cpu])
    assert (found and found.name, seen and seen.name) == (device, name)


def test_where_nothing_is_seen_nothing_is_detected():
    assert detect([]) == (None, None)


def test_a_virtual_machine_names_no_device():
    assert detect(present(FakeNvml(), VIRTUAL)) == (None, Seen("cpu", "Intel(R) Xeon(R) Processor"))


def test_this_machine_can_be_asked():
    found, seen = detect()
    assert found is None or seen in present()


@pytest.mark.parametrize(
    ("seen", "profile", "status", "source"),
    [
        ([Seen("gpu", "RTX 5010 SuperNew"), I9], "generic-gpu", "default", "GPU 'RTX 5010 SuperNew' is not in"),
        ([Seen("cpu", "Neoverse-V1")], "generic-cpu", "default", "CPU 'Neoverse-V1' is not in"),
        ([], "generic-cpu", "default", "no device was recognised"),
        ([Seen("gpu", "Tesla T4"), I9], "nvidia-t4", "detected", "found here: Tesla T4"),
        ([Seen("gpu", "GT 710"), Seen("gpu", "Tesla T4")], "nvidia-t4", "detected", "(not in the catalogue: GT 710)"),
        ([I9], "intel-core-i9-9900k", "detected", "found here: Intel(R) Core(TM) i9-9900K"),
    ],
)
def test_auto_says_what_was_seen_and_what_is_priced(monkeypatch, seen, profile, status, source):
    monkeypatch.setattr(machine, "present", lambda: tuple(seen))
    chosen, assumption = selection.choose("auto")
    assert chosen.name == assumption.value == profile
    assert assumption.status == status
    assert source in assumption.source
    assert assumption.flag == "--hardware"
    if status == "default":
        assert assumption.source.endswith("with --hardware")
