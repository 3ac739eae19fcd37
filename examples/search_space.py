"""A search space in Optuna's define-by-run style, for `estimate search examples/search_space.py`: small image nets.

The forecasting CNN of Sahoo et al. (Table 3) searches input time steps, learning rate and optimizer, in batches of 10;
here the time steps are the channels that come in, and the width and depth may vary too. Every parameter has a
finite number of values, so that `--sampler grid` can go through all of them.
"""

from torch import nn, zeros


def build(trial):
    steps = trial.suggest_int("time_steps", 1, 4)
    width = trial.suggest_int("width", 16, 64, step=16)
    depth = trial.suggest_int("depth", 2, 4)
    trial.suggest_float("learning_rate", 1e-4, 1e-2, step=3.3e-3)  # does not change the cost of an epoch
    trial.suggest_categorical("batch_size", [10, 20, 40])  # this name makes it the trial's own batch size
    layers, channels = [], steps
    for _ in range(depth):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, 1))
    return net, zeros(1, steps, 32, 32)  # the example input tells the shape that the net is fed with
