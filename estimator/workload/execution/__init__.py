"""How a model is run, beyond eager PyTorch in one dtype."""
