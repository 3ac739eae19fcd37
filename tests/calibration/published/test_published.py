"""Published files, as rows of one batch each. The figures are invented; the arithmetic is by hand."""

from __future__ import annotations

import pytest

from calibration.published.rows import FILES, read

IMAGENET = """device,phase,model,resolution,batch_size,dtype,samples,duration_s,energy_j,sensor,optimizer
nvidia-quadro-rtx-5000,inference,torchvision/resnet18,192,4,float32,1000,50,5000,nvml,
nvidia-quadro-rtx-5000,training,torchvision/resnet18,224,4,float32,2000,,20000,nvml,sgd
"""
PASSES = """device,phase,model,dtype,batch_size,sequence_length,attention,sm_clock_mhz,time_ms,energy_j,run
nvidia-a10,inference,transformers/GPT2Model gpt2,bfloat16,2,16,eager,900.0,7.5,0.5,x
nvidia-a10,inference,transformers/MobileViTModel mobilevit-small,float32,2,,sdpa,900.0,7.5,0.5,y
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    for name, text in zip(FILES, (IMAGENET, PASSES), strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "llm_training.csv").write_text("model,tokens_per_s\nother columns,1\n", encoding="utf-8")
    return list(read(folder))


def test_a_pass_over_images_becomes_one_batch(rows):
    inference, training = rows[:2]
    # 1000 images are 250 batches of 4
    assert (inference.energy_j, inference.duration_s) == (5000 / 250, 50 / 250)
    # the loader alone: 53 s for 50,000 images of inference, 3.76 ms an image of training
    assert (inference.floor_s, training.floor_s) == pytest.approx((4 * 53 / 50_000, 4 * 3.76e-3))
    assert (inference.clock_hz, inference.multi_tensor, inference.network) == (None, False, "resnet")
    assert inference.parameters == 11_689_512  # torchvision's own figure for resnet18
    assert inference.workload.ops[0].inputs[0] == (4, 3, 192, 192)
    assert (training.energy_j, training.duration_s) == (20000 / 500, None)
    assert training.workload.ops[0].inputs[0] == (4, 3, 224, 224)
    assert {op.name for op in training.workload.ops if op.phase == "optimizer"} == {"momentum"}


def test_one_forward_pass_at_a_locked_clock(rows):
    text, picture = rows[2:]
    assert (text.energy_j, text.duration_s, text.floor_s, text.clock_hz) == (0.5, 7.5e-3, 0.0, 900e6)
    assert (text.network, text.multi_tensor) == ("gpt2", True)
    assert "attention" not in {op.kind for op in text.workload.ops}  # eager: plain products
    assert picture.workload.ops[0].inputs[0] == (2, 3, 256, 256)  # what MobileViT is made for
