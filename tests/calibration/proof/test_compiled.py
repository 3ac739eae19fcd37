"""Gains of compiling: two invented files, and the table by hand."""

import gzip

import pytest

from calibration.proof.compiled import COMPILED_FILE, EAGER_FILE, Gain, gains, table

_HEADER = "model,infer_img_size,infer_step_time,infer_batch_size,param_count\n"
_EAGER = _HEADER + "lcnet_050,64,20.0,128,1.88\nlcnet_075,64,20.0,128,99.9\nlcnet_100,64,20.0,64,2.95\n"
_COMPILED = _HEADER + "lcnet_050,64,10.0,128,1.88\nlcnet_075,64,10.0,128,99.9\nlcnet_100,64,10.0,32,2.95\n"


def test_networks_that_both_files_have_alike(tmp_path):
    (tmp_path / "timm").mkdir()
    (tmp_path / EAGER_FILE).write_bytes(gzip.compress(_EAGER.encode()))
    (tmp_path / COMPILED_FILE).write_bytes(gzip.compress(_COMPILED.encode()))
    (gain,) = gains(tmp_path)  # the second has other parameters today, the third another batch
    assert (gain.network, gain.batch_size, gain.measured) == ("lcnet_050", 128, 2.0)
    assert gain.predicted > 1


def test_the_table_says_what_it_comes_to():
    text = table([Gain("a" * 60, 8, 2.0, 1.0), Gain("b", 8, 1.0, 1.1)])
    assert max(map(len, text.splitlines())) <= 80
    assert "mean error 30.0% (bar 15%: missed)" in text  # (50% + 10%) / 2
    # the constant is the median, 1.5: 25% under one and 50% over the other
    assert "one constant (x1.50): mean error 37.5%" in text
    assert Gain("c", 1, 2.0, 3.0).error == pytest.approx(0.5)
