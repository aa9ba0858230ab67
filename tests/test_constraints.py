"""Networks with few, bounded weights."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skdiffusion.diffusion.networks import FilmEnsemble
from skdiffusion.diffusion.training import TrainingPlan, TrainingSets, train
from skdiffusion.diffusion.training._constraints import WeightConstraint, quotas

SHAPES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=8)


@given(shapes=SHAPES, share=st.floats(0, 1))
def test_quotas_add_up_and_fit(shapes, share):
    sizes = [n_rows * n_columns for n_rows, n_columns in shapes]
    count = int(share * sum(sizes))
    parts = quotas(shapes, count)
    assert sum(parts) == count
    assert all(0 <= part <= size for part, size in zip(parts, sizes))


def test_small_layers_keep_more_of_their_entries():
    parts = quotas([(2, 64), (64, 64), (64, 2)], 520)
    assert parts[0] == parts[2] == 128
    assert parts[1] == 264


def test_the_schedule_ends_at_the_number_asked_for():
    network = FilmEnsemble(3, (16, 16), "relu", 2)
    constraint = WeightConstraint(network, 200, None, (0.2, 0.6))
    allowed = [constraint.allowed(step, 1000) for step in range(0, 1001, 50)]
    assert allowed[0] == network.n_parameters
    assert allowed[-1] == 200
    assert (np.diff(allowed) <= 0).all()
    assert [constraint.settled(step, 1000) for step in (599, 600)] == [False, True]
    assert constraint.allowed(600, 1000) == 200


@pytest.mark.parametrize("validate", [True, False])
def test_a_trained_network_is_in_the_class(validate, rng):
    """At most S parameters differ from zero, none above B, and it still learns."""
    samples = 0.3 * rng.standard_normal((300, 1)) + rng.choice([-1.0, 1.0], (300, 1))
    network = FilmEnsemble(1, (24, 24), "relu", 2)
    network.initialize(rng, 2.0, 1.2)
    plan = TrainingPlan(n_steps=400, batch_size=128, n_nonzero_weights=400, weight_bound=1.5)
    folds = [np.arange(60), np.arange(60, 120)] if validate else []
    samples = torch.as_tensor(samples, dtype=torch.float32)
    result = train(network, TrainingSets(samples, np.ones(300), [np.arange(120, 300)] * 2, folds), plan, rng)
    flat = result.network.flat
    assert ((flat != 0).sum(1) <= 400).all()
    assert flat.abs().max() <= 1.5
    assert (flat != 0).sum() > 700
    assert result.loss_curve[-1][1] < 0.9
    if validate:
        assert (result.best_step >= 240).all()
