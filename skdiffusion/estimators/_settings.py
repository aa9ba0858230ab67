"""Sizes, steps and members chosen from the shape of the data. Measured in benchmarks/ablation.py."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Settings:
    """Everything that "auto" stands for, once n and d are known."""

    hidden_layer_sizes: tuple
    n_members: int
    n_folds: int
    n_steps: int
    batch_size: int
    n_references: int
    learning_rate: float
    input_gain: float
    hidden_gain: float
    noise_mean: float
    patience: int


def default_settings(n, d):
    """Settings for n rows (effective) and d columns."""
    hidden, n_members, n_steps, batch_size, learning_rate = (128, 128), 4, 1000, 512, 1e-2
    if d <= 2:
        # Sharp edges want steps: ensembling gains little here.
        n_members, n_steps, batch_size, learning_rate = 2, 3000 if d == 2 else 1500, 256, 5e-3
    elif n >= 5000:
        n_members, n_steps = 2, 4000
    if n < 1000:
        # Variance rules: many small members.
        hidden, n_members, n_steps, batch_size, learning_rate = (64, 64), 8, 800, 256, 5e-3
    if n <= 150:
        hidden, n_steps, batch_size = (32, 32), 300, 128
    return Settings(
        hidden_layer_sizes=hidden,
        n_members=n_members,
        n_folds=8,
        n_steps=n_steps,
        batch_size=batch_size,
        n_references=2000 if d <= 2 else 512 if d <= 8 else 0,
        learning_rate=learning_rate,
        input_gain=4.0 if d <= 2 else 2.0 if d < 10 else 1.0,
        hidden_gain=1.2,
        noise_mean=-1.8 if d <= 2 else -1.2,
        patience=max(300, int(0.4 * n_steps)),
    )


def resolve_max_iter(max_iter, n_steps, n, batch_size):
    """Optimiser steps: `max_iter` epochs over n rows, or the default number."""
    if max_iter == "auto":
        return n_steps
    return int(max(1, np.ceil(max_iter * n / batch_size)))
