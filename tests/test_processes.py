"""Several processes give the fit of one, and a fit goes on from its checkpoint."""

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skdiffusion._utils.collective import all_processes
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, NetworkField, split_network
from skdiffusion.diffusion.training import Checkpoint, FineTuningPlan, SplitPlan, TrainingPlan, TrainingSets
from skdiffusion.diffusion.training._denoising import Denoising
from skdiffusion.diffusion.training._likelihood import Likelihood
from skdiffusion.diffusion.training._loop import run
from skdiffusion.diffusion.training._splits import SplitDenoising
from skdiffusion.exceptions import InterruptedFitWarning, LostProcessError
from tests.processes import Processes, cut, samples, small

TOLERANCE = 1e-4  # nats of log-densities: float32 networks carry the order of sums on over the steps
CUTS = [(0, 100), (100, None)]


def fit_shard(rank, estimator, X, cuts, sample_weight=None):
    return estimator.fit(cut(X, rank, cuts), sample_weight=cut(sample_weight, rank, cuts))


def message_of(rank, estimator, X, cuts, sample_weights=(None, None)):
    """The error of a fit that must fail."""
    with pytest.raises((ValueError, RuntimeError)) as error:
        estimator.fit(cut(X, rank, cuts), sample_weight=sample_weights[rank])
    return str(error.value)


@pytest.fixture(scope="module")
def pair():
    with Processes(2) as processes:
        yield processes


def check_same_fit(pair, estimator, X, cuts, sample_weight=None):
    alone = clone(estimator).fit(X, sample_weight=sample_weight)
    first, second = pair(fit_shard, estimator, X, cuts, sample_weight)
    there, here = alone.score_samples(X), first.score_samples(X)
    assert_allclose(here, there, atol=TOLERANCE)
    assert_allclose(first.loss_curve_, alone.loss_curve_, rtol=1e-5)
    assert_allclose(first.validation_scores_, alone.validation_scores_, atol=1e-5)
    assert_array_equal(second.score_samples(X), here)
    assert first.n_samples_seen_ == len(X)


@pytest.mark.parametrize("cuts", [CUTS, [(0, 0), (0, None)]], ids=["uneven", "empty"])
def test_two_processes_give_the_fit_of_one(pair, cuts):
    check_same_fit(pair, small(), samples(), cuts)


def test_the_whole_blend_of_two_processes(pair):
    X = samples(200, 2)
    given = {"components": "auto", "feature_transform": "auto", "n_steps": "auto", "hidden_layer_sizes": (12, 12, 12)}
    check_same_fit(pair, small(**given), X, CUTS, sample_weight=np.linspace(0.5, 1.5, 200))


OBJECTIVES = {}


def objective(make):
    OBJECTIVES[make.__name__] = make
    return make


def network_and_sets(d=3, n_inputs=None, noised=None):
    rng = np.random.default_rng(1)
    network = FilmEnsemble(n_inputs or d, (8, 8), "silu", 2).to(torch.float64)
    network.flat.copy_(torch.as_tensor(0.2 * rng.standard_normal(tuple(network.flat.shape))))
    x = torch.as_tensor(rng.standard_normal((40, n_inputs or d)))
    halves = [np.arange(20), np.arange(20, 40)]
    return network, TrainingSets(x, np.ones(40), halves, halves[::-1], noised)


@objective
def stable_targets():
    plan = TrainingPlan(n_steps=9, batch_size=32, n_levels=4, n_target_samples=64, check_every=3)
    return Denoising(*network_and_sets(), plan, np.random.default_rng(0))


@objective
def more_processes_than_samples():
    plan = TrainingPlan(n_steps=9, batch_size=4, n_levels=4, n_target_samples=8, check_every=3)
    return Denoising(*network_and_sets(), plan, np.random.default_rng(0))


@objective
def given_entries():
    noised = torch.as_tensor(np.random.default_rng(2).random((40, 3)) < 0.6)
    plan = TrainingPlan(n_steps=9, batch_size=40, n_levels=4, check_every=3)
    return Denoising(*network_and_sets(noised=noised), plan, np.random.default_rng(0))


@objective
def splits(mirrored=False):
    rng = np.random.default_rng(1)
    network = split_network(3, 3, (8, 8), "silu", 2).to(torch.float64)
    network.initialize(rng, 1.0, 1.2)
    plan = SplitPlan(n_steps=9, batch_size=20, n_levels=4, check_every=3, mirrored=mirrored)
    return SplitDenoising(network, network_and_sets()[1], np.eye(3), plan, np.random.default_rng(0))


@objective
def mirrored_splits():
    return splits(mirrored=True)


@objective
def likelihood():
    network, sets = network_and_sets()
    network, sets = network.to(torch.float32), replace(sets, samples=sets.samples.float())
    flow = ProbabilityFlow(NetworkField(network), 0.01, 1.52)
    return Likelihood(flow, sets, lambda network: 0.0, FineTuningPlan(batch_size=15), np.random.default_rng(0))


@torch.no_grad()
def gradients(rank, name):
    """Gradients and losses of the steps from 2 to 5, and validation losses."""
    with all_processes() as processes:
        objective, found = OBJECTIVES[name](), []
        for step in range(2):
            objective.skip(step, 9)
        for step in range(2, 6):
            gradient, loss = objective.gradient(step, 9)
            processes.add_up(loss)
            found.append((gradient.numpy().copy(), float(loss)))
        return found, objective.validation_losses()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_processes_share_gradients_and_validation_losses(pair, name):
    (expected, validation), found = gradients(0, name), pair(gradients, name)
    for steps, losses in found:
        assert_allclose(losses, validation, rtol=1e-15)
        for (gradient, loss), (there, loss_there) in zip(steps, expected, strict=True):
            assert np.abs(there).max() > 1e-3
            error = np.finfo(gradient.dtype).eps * 20
            assert_allclose(gradient, there, atol=error * np.abs(there).max())
            assert_allclose(loss, loss_there, rtol=error)


@pytest.mark.parametrize("name", OBJECTIVES)
@torch.no_grad()
def test_steps_that_are_skipped_draw_what_steps_draw(name):
    whole = OBJECTIVES[name]()
    for step in range(5):
        expected, _ = whole.gradient(step, 9)
    skipped = OBJECTIVES[name]()
    for step in range(4):
        skipped.skip(step, 9)
    assert_array_equal(skipped.gradient(4, 9)[0], expected)


def test_what_does_not_fit_together_is_an_error_everywhere(pair):
    X, halves = samples(40), [(0, 20), (20, 40)]
    for rank, message in enumerate(pair(message_of, small(), X, halves, (np.ones(20), None))):
        assert "'sample_weight' is given with some shards" in message, rank
    found = pair(message_of, small(), X, halves, (np.ones(20), np.ones(19)))
    assert all("a value for every sample of its shard" in message for message in found), found
    found = pair(message_of_other_features, X, halves)
    assert all("with the same features" in message for message in found), found
    found = pair(message_of_other_parameters, X, halves)
    assert all("['max_iter', 'options__n_training_steps'] differ" in message for message in found), found


def message_of_other_features(rank, X, cuts):
    return message_of(rank, small(), X[:, : 2 + rank], cuts)


def message_of_other_parameters(rank, X, cuts):
    return message_of(rank, small(n_training_steps=(60, "auto")[rank], max_iter=("auto", 2)[rank]), X, cuts)


def frames(rank, library):
    """Half of a frame with labels of which each half has others, and gaps."""
    table = {"kind": ["a", "b", "c", "b"] * 20, "size": samples(80, 1)[:, 0].tolist()}
    halves = {name: column[40 * rank : 40 * rank + 40] for name, column in table.items()}
    halves["kind"] = ["b", "c"] * 20 if rank else ["a", "b"] * 20
    halves["size"][3] = None
    if library == "pandas":
        frame = pd.DataFrame(halves)
        return frame.astype({"kind": "category"})
    return pl.DataFrame(halves) if library == "polars" else pa.table(halves)


def fit_frame(rank, library):
    return small(40, components=["mixture"]).fit(frames(rank, library))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_with_categories_and_gaps(pair, library):
    first, second = pair(fit_frame, library)
    drawn = first.sample(200, random_state=0)
    assert set(drawn["kind"].to_pylist() if library == "pyarrow" else drawn["kind"]) == {"a", "b", "c"}
    X = frames(0, library)
    assert_array_equal(first.score_samples(X), second.score_samples(X))


def partial_fits(rank, X):
    estimator = small()
    for cuts in ([(0, 100), (100, 200)], [(200, 250), (250, 300)]):
        estimator.partial_fit(cut(X, rank, cuts))
    return estimator


def test_partial_fit_by_two_processes(pair):
    X = samples()
    alone = small().partial_fit(X[:200]).partial_fit(X[200:])
    first, second = pair(partial_fits, X)
    assert_allclose(first.score_samples(X), alone.score_samples(X), atol=TOLERANCE)
    assert_array_equal(first.score_samples(X), second.score_samples(X))
    assert first.n_samples_seen_ == 300


def limited(rank, X, cuts):
    started = time.perf_counter()
    estimator = small(20_000, max_fit_seconds=2.0).fit(cut(X, rank, cuts))
    return estimator.loss_curve_, time.perf_counter() - started


def test_processes_agree_on_what_there_is_time_for(pair):
    (first, seconds), (second, _) = pair(limited, samples(), CUTS)
    assert_array_equal(first, second)
    assert 0 < first[-1, 0] < 20_000


# -- checkpoints, and processes that die ----------------------------------------------------------


class Died(Exception):
    pass


def die_after(n_kept, how):
    """`Checkpoint.keep` that ends the process once it was called so many times."""
    keep = Checkpoint.keep

    def keep_and_die(self, state):
        keep(self, state)
        keep_and_die.left -= 1
        if not keep_and_die.left:
            how()

    keep_and_die.left = n_kept
    return keep_and_die


def die():
    raise Died


@contextmanager
def ending(n_kept, how):
    """Fits within end once their checkpoint was written so many times."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Checkpoint, "keep", die_after(n_kept, how))
        yield


@pytest.fixture
def counted(monkeypatch):
    """Steps of the denoising that are taken."""
    taken, gradient = [], Denoising.gradient
    monkeypatch.setattr(Denoising, "gradient", lambda self, step, n: (taken.append(step), gradient(self, step, n))[1])
    return taken


@pytest.mark.parametrize("kind", ["numbers", "table", pytest.param("conditionals", marks=pytest.mark.slow)])
def test_a_fit_that_goes_on_has_the_bits_of_one_that_was_never_interrupted(kind, tmp_path, counted):
    path, X = tmp_path / "fit.checkpoint", samples(120)
    given = {"fit_conditionals": kind == "conditionals", "components": ["mixture"]}
    if kind == "table":
        X[:, 0] = X[:, 0] > 0
        given |= {"categorical_features": [0], "fit_conditionals": "auto"}
    whole = small(200, **given, random_state=3).fit(X)
    estimator = small(200, **given, random_state=3, options={"checkpoint": str(path)})
    with ending(6 if kind == "conditionals" else 2, die), pytest.raises(Died):
        estimator.fit(X)
    counted.clear()
    assert path.exists()
    assert not hasattr(estimator, "blend_")
    estimator.random_state = None  # the seed of the checkpoint counts
    estimator.fit(X)
    assert not path.exists()
    assert_array_equal(estimator.score_samples(X), whole.score_samples(X))
    assert_array_equal(estimator.loss_curve_, whole.loss_curve_)
    assert_array_equal(estimator.loss_by_noise_, whole.loss_by_noise_)
    assert len(counted) == {"numbers": 100, "table": 100, "conditionals": 0}[kind]


def trained(checkpoint, scale=1.0):
    """The network and the curve of a short run on samples of a scale."""
    network, sets = network_and_sets()
    plan = TrainingPlan(n_steps=6, batch_size=32, n_levels=4, check_every=3, checkpoint=checkpoint)
    sets = replace(sets, samples=scale * sets.samples)
    result = run(Denoising(network, sets, plan, np.random.default_rng(0)), plan)
    return result.network.flat.clone(), result.validation_curve


@pytest.mark.parametrize("scale", [1.0, 1.1])
def test_a_run_goes_on_from_a_state_of_its_own_samples_and_coordinates_alone(tmp_path, scale, counted):
    path = str(tmp_path / "checkpoint")
    trained(Checkpoint(path, "", 0))
    expected = trained(None, scale)
    counted.clear()
    network, curve = trained(Checkpoint(path, "", 0), scale)
    assert len(counted) == (0 if scale == 1 else 6)
    assert_array_equal(network, expected[0])
    assert curve == expected[1]


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    path, X = tmp_path / "fit.checkpoint", samples(60)
    estimator = small(options={"checkpoint": str(path)})
    with ending(1, die), pytest.raises(Died):
        estimator.fit(X)
    with pytest.raises(ValueError, match="checkpoint of another fit.*delete the file"):
        estimator.fit(X + 1)
    with pytest.raises(ValueError, match="checkpoint of another fit"):
        clone(estimator).set_params(hidden_layer_sizes=(8, 8)).fit(X)
    whole = path.read_bytes()
    for damaged in (whole[:-100], b"", b"nothing"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="no whole checkpoint"):
            estimator.fit(X)
    path.write_bytes(whole)
    assert estimator.fit(X).n_features_in_ == 3
    with pytest.raises(ValueError, match="'checkpoint' option names a file in .*nowhere"):
        estimator.set_params(options__checkpoint=str(tmp_path / "nowhere" / "file")).fit(X)


def test_interrupted_fits_keep_their_checkpoint(tmp_path):
    path, X = tmp_path / "fit.checkpoint", samples(60)

    def interrupt():
        raise KeyboardInterrupt

    estimator = small(200, options={"checkpoint": str(path)})
    with ending(2, interrupt), pytest.warns(InterruptedFitWarning, match="100 of 200 steps"):
        estimator.fit(X)
    assert path.exists()
    assert_array_equal(estimator.fit(X).score_samples(X), small(200).fit(X).score_samples(X))
    assert not path.exists()


def fit_or_die(rank, estimator, X, cuts):
    if rank == 1:
        Checkpoint.keep = die_after(2, lambda: os._exit(1))
    started = time.perf_counter()
    with pytest.raises(LostProcessError) as error:
        estimator.fit(X[slice(*cuts[rank])])
    return str(error.value), hasattr(estimator, "blend_"), time.perf_counter() - started


def test_a_process_that_dies_ends_the_others_and_another_fit_goes_on(tmp_path, counted):
    path, X = tmp_path / "fit.checkpoint", samples()
    estimator = small(200, options={"checkpoint": str(path)})
    with Processes(2) as processes:
        (well, (message, fitted, _)), (died, _) = processes.outcomes(fit_or_die, estimator, X, CUTS)
    assert well
    assert died is None
    assert "Process 0 of 2 lost the others at step 101 of 200 of the training" in message
    assert not fitted
    alone = small(200).fit(X)
    counted.clear()
    estimator.fit(X)
    assert min(counted) == 100
    assert_allclose(estimator.score_samples(X), alone.score_samples(X), atol=TOLERANCE)


def wait_in_vain(rank, timeout):
    """A process that is silent for longer than the time-out of the group, beside one that waits for it."""
    with all_processes() as processes:
        processes.enters("step 7")
        if rank:
            time.sleep(2 * timeout)
        started = time.perf_counter()
        with pytest.raises(LostProcessError) as error:
            processes.add_up(torch.zeros(3))
        return str(error.value), time.perf_counter() - started


@pytest.mark.slow
def test_a_silent_process_is_an_error_within_the_time_out():
    with Processes(2, timeout=8) as processes:
        found = processes(wait_in_vain, 8)
    for rank, (message, seconds) in enumerate(found):
        assert f"Process {rank} of 2 lost the others at step 7" in message
        assert seconds < 12


def fit_within(rank, X):
    """A fit within that of a group is each process's own."""
    with all_processes():
        estimator = small(random_state=rank).fit(X)
    return estimator


def test_a_fit_within_another_is_done_by_each_process_alone(pair):
    X = samples(60)
    for rank, estimator in enumerate(pair(fit_within, X)):
        assert_array_equal(estimator.score_samples(X), small(random_state=rank).fit(X).score_samples(X))


def fit_in_threads(rank, X):
    """Two fits at once in one process: the second is refused, and the first goes on."""
    with all_processes() as processes:
        found = []

        def fit():
            try:
                small().fit(X)
            except RuntimeError as error:
                found.append(str(error))

        thread = threading.Thread(target=fit)
        thread.start()
        thread.join()
        return found, processes.every(rank)


def test_two_fits_at_once_in_one_process_are_refused(pair):
    for found, ranks in pair(fit_in_threads, samples(40)):
        assert "fit one after the other" in found[0]
        assert ranks == [0, 1]
