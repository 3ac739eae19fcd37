import pytest

from estimator.base.errors import HardwareError
from estimator.hardware.devices import read_devices

ENTRY = '[sources]\ns = "a sheet"\n[x-1]\ntitle = "X 1"\narchitecture = "Y"\nyear = 2020\nsource = "s"\n'
RATE = "float32_flop_per_s = 1e12\n"


def test_a_table_gives_facts_with_defaults_and_overrides():
    text = (
        ENTRY
        + RATE
        + 'idle_power_w = {value = 9, source = "s", status = "published", note = "twice"}\nmemory_gb = 16\n'
    )
    device = read_devices(text, "gpu", "t.toml")["x-1"]
    assert (device.vendor, device.kind, device.title, device.year) == ("x", "gpu", "X 1", 2020)
    fact = device.facts["float32_flop_per_s"]
    assert (fact.value, fact.unit, fact.source, fact.status) == (1e12, "FLOP/s", "a sheet", "datasheet")
    idle = device.facts["idle_power_w"]
    assert (idle.value, idle.unit, idle.source, idle.status) == (9, "W", "a sheet: twice", "published")
    assert device.memory_bytes == 16e9
    assert device.tdp_w is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (ENTRY + RATE + "tdp = 5\n", r"t.toml: \[x-1\] is damaged \(unknown key tdp\)"),
        (ENTRY + RATE + "tdp_w = {value = 5, unit = 'W'}\n", "unknown key unit in tdp_w"),
        (ENTRY + RATE + "tdp_w = 0\n", "not a positive number"),
        (ENTRY + RATE + "tdp_w = inf\n", "not a positive number"),
        (ENTRY + RATE + "tdp_w = true\n", "not a positive number"),
        (ENTRY + RATE + "tdp_w = {value = 5, status = 'heard'}\n", "unknown status 'heard'"),
        (ENTRY + RATE + "tdp_w = {value = 5, source = 'z'}\n", "lacks 'z'"),
        (ENTRY, "lacks 'float32_flop_per_s'"),
        ((ENTRY + RATE).replace("year = 2020\n", ""), "lacks 'year'"),
        ("x-1 = 5\n", r"\[x-1\] is damaged \(it is no table\)"),
        (ENTRY + "tdp_w = [\n", "t.toml is not valid TOML"),
    ],
)
def test_a_damaged_table_is_refused_by_name(text, complaint):
    with pytest.raises(HardwareError, match=complaint):
        read_devices(text, "gpu", "t.toml")
