"""Files of whole networks, as rows. The figures are invented; the arithmetic is by hand."""

import gzip

import pytest

from calibration.published.coefficients import machines, predictions, starting
from calibration.published.network_rows import TIMM, padded_tokens, read

TRAIN = next(name for name, (_, prefix) in TIMM.items() if prefix == "train")
TIMM_FILE = """model,train_samples_per_sec,train_step_time,train_batch_size,train_img_size,param_count
lcnet_050,1000,128.0,128,64,1.88
lcnet_075,1000,128.0,128,64,99.9
no_such_model,1000,128.0,128,64,1.0
"""
TORCHVISION_FILE = """folder,device,gpus,dtype,mode,model,median_ms,n
a,TITAN Xp,1,half,train,squeezenet1_1,20.0,50
a,TITAN Xp,2,half,train,squeezenet1_1,20.0,50
a,TITAN Xp,1,double,train,squeezenet1_1,20.0,50
"""
LIMITED_FILE = """device,dataset,network,batch_size,optimizer,power_limit,time_per_epoch,average_power
nvidia-v100-pcie-32gb,cifar100,shufflenetv2,500,adam,100,10.0,90.0
nvidia-v100-pcie-32gb,cifar100,shufflenetv2,500,adam,250,5.0,150.0
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    (folder / "timm").mkdir()
    (folder / "timm" / TRAIN).write_bytes(gzip.compress(TIMM_FILE.encode()))
    (folder / "torchvision_train_infer.csv").write_text(TORCHVISION_FILE, encoding="utf-8")
    (folder / "training_power_limits.csv").write_text(LIMITED_FILE, encoding="utf-8")
    return {row.model.split("/")[0] + (f" {row.limit_w:g}" if row.limit_w else ""): row for row in read(folder)}


def test_what_is_read(rows):
    # timm's second network has other parameters today, the third is none; of torchvision one GPU, and no double
    assert set(rows) == {"timm", "torchvision", "limited 100", "limited 250"}


def test_a_step_of_timm(rows):
    row = rows["timm"]
    assert (row.device, row.phase, row.dtype, row.duration_s) == ("nvidia-rtx-3090", "training", "float16", 0.128)
    assert row.workload.ops[0].inputs[0] == (128, 3, 64, 64)
    # AMP: products in float16, weights and optimizer in float32, no scaler
    assert {op.dtype for op in row.workload.ops if op.kind in ("conv", "matmul")} == {"float16"}
    assert {(op.name, op.dtype) for op in row.workload.of_phase("optimizer")} == {("momentum", "float32")}


def test_a_step_of_torchvision(rows):
    row = rows["torchvision"]
    assert (row.device, row.phase, row.duration_s, row.multi_tensor) == ("nvidia-titan-xp", "training", 0.02, False)
    assert row.workload.ops[0].inputs[0] == (12, 3, 224, 224)
    assert row.parameters == 1_235_496  # torchvision's own figure


def test_a_training_at_a_power_limit(rows):
    row = rows["limited 100"]
    # an epoch of 50,000 pictures is 100 batches of 500
    assert (row.duration_s, row.energy_j, row.limit_w) == (pytest.approx(0.1), pytest.approx(9.0), 100.0)
    assert row.workload.ops[0].outputs[0] == (500, 24, 32, 32)  # not halved at the start
    (_, _), (limited, free) = predictions([rows["limited 100"], rows["limited 250"]], starting("gpu"))
    assert limited > free
    assert len(machines([rows["limited 100"], rows["limited 250"]])) == 2


def test_a_batch_is_padded_to_its_longest():
    lengths = [padded_tokens(batch) for batch in (1, 8, 64, 4096)]
    assert lengths[0] == pytest.approx(145 * 1.0877, rel=0.02)  # the mean of a log-normal: median x exp(0.41^2 / 2)
    assert lengths == sorted(lengths)
    assert lengths[-1] == 384


def test_a_slow_host_is_no_slow_device(rows):
    row, start = rows["torchvision"], starting("gpu")
    ((_,), (alone,)), ((_,), (slower,)) = (
        predictions([row], {**start, **host}) for host in ({}, {f"host {row.host}": 10.0})
    )
    assert slower > 2 * alone  # a step of many small kernels: it waits for its host
