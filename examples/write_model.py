"""Write a model file to try `estimate` on: ResNet-50 of timm with untrained weights, saved whole by torch.save."""

import sys

import torch

from estimator.sources import load

if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else "model.pt"
    torch.save(load("timm:resnet50").module.to_empty(device="cpu"), path)
    print(f"wrote {path}")
