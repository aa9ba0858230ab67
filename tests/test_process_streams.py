"""Several processes that each read their own samples, and what each of them does by itself."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skdiffusion import ManifoldDiffusionEstimator
from skdiffusion._utils.collective import all_processes, alone
from skdiffusion._utils.shards import Shard, Shards
from skdiffusion.diffusion.training import SampleBlocks
from skdiffusion.estimators._large import Given, within_memory
from skdiffusion.preprocessing import LeftOutOfStream, TrainingData, WeightedSamples
from tests.processes import Processes, cut, samples, small

TOLERANCE = 1e-4  # nats of log-densities: float32 networks carry the order of sums on over the steps


@pytest.fixture(scope="module")
def pair():
    with Processes(2) as processes:
        yield processes


# -- more samples than the reservoir holds ---------------------------------------------------------


def far_apart(n=4000, share=0.9):
    """Samples of two clusters, those of the first before those of the second."""
    X = samples(n, 2) / 2
    X[: int(share * n), 0] -= 6.0
    return X


def beyond_reservoir(size=400, n_training_steps=300, **given):
    return small(n_training_steps, options={"reservoir_size": size}, **given)


def as_source(X, kind, folder):
    """Samples as a source of a kind."""
    if kind == "memmap":
        path = Path(folder) / f"{os.getpid()}.npy"
        np.save(path, X)
        return np.load(path, mmap_mode="r")
    if kind == "frame":
        return pd.DataFrame(X, columns=["a", "b"])
    if kind == "shards":
        return Shards([Shard(part, place=k) for k, part in enumerate(np.array_split(X, 3))])
    return (lambda: iter(np.array_split(X, 5))) if kind == "callable" else X


def fit_source(rank, estimator, X, cuts, kind, folder):
    return estimator.fit(as_source(cut(X, rank, cuts), kind, folder))


@pytest.mark.parametrize("kind", ["array", "memmap", "frame", "shards", "callable"])
def test_each_process_reads_its_own_samples_and_all_learn_from_all(pair, kind, tmp_path):
    """The second process has a tenth of the samples, and a cluster of its own."""
    X, estimator = far_apart(), beyond_reservoir()
    first, second = pair(fit_source, estimator, X, [(0, 3600), (3600, None)], kind, str(tmp_path))
    assert first.n_samples_seen_ == len(X)
    fresh = as_source(far_apart(2000), "frame" if kind == "frame" else "array", tmp_path)
    assert_array_equal(first.score_samples(fresh), second.score_samples(fresh))
    one_process = clone(estimator).fit(as_source(X, "frame" if kind == "frame" else "array", tmp_path))
    assert first.score(fresh) == pytest.approx(one_process.score(fresh), abs=0.1)
    drawn = np.asarray(first.sample(4000, random_state=0))
    assert (drawn[:, 0] > -3).mean() == pytest.approx(0.1, abs=0.03)


def blocks_seen(rank, cuts, n, n_blocks):
    """The samples that networks see, whose values are their numbers, and how many this process read by itself."""
    X = np.column_stack([np.arange(n), np.zeros(n)]).astype(float)[slice(*cuts[rank])]
    with all_processes():
        rng = np.random.default_rng(0)
        given = Given(X)
        _, _, _, reservoir = within_memory(beyond_reservoir(60), given, 0.0, rng)
        samples = WeightedSamples(reservoir.X, np.ones(len(reservoir.X)))
        data = replace(TrainingData.of(samples, None, rng), reservoir=reservoir).split(3, 3)
        training = [data.without(fold) for fold in data.validation_folds]
        blocks = SampleBlocks(reservoir, LeftOutOfStream(data, training), lambda X, _: X, 10**9, rng)
        seen = []
        for _ in range(n_blocks):
            z, picks = blocks.take((2, 20), 20)
            seen.append(z.numpy()[picks][..., 0])
    left_out = [reservoir.numbers[data.places[fold]] for fold in data.validation_folds]
    return reservoir.numbers, reservoir.X[:, 0], np.array(seen), left_out


@pytest.mark.parametrize("cuts", [[(0, 700), (700, 1000)], [(0, 0), (0, 1000)]], ids=["uneven", "empty"])
def test_blocks_of_several_processes_hold_all_samples_equally_often(pair, cuts):
    first, second = pair(blocks_seen, cuts, 1000, 300)
    for ours, theirs in zip(first[:3], second[:3]):
        assert_array_equal(ours, theirs)
    numbers, values, seen, left_out = first
    assert_array_equal(values, numbers)
    assert len(numbers) == 60
    for member, out in enumerate(left_out):
        counts = np.bincount(seen[:, :, member].ravel().astype(int), minlength=1000)
        assert not counts[out].any()
        kept = np.delete(counts, out)
        assert kept.std() < 1.3 * np.sqrt(kept.mean())


def message_of_source(rank, estimator, X, cuts, kind, folder):
    with pytest.raises(ValueError, match=" ") as error:
        fit_source(rank, estimator, X, cuts, kind, folder)
    return str(error.value)


def test_unknown_values_in_one_shard_take_all_samples_into_memory(pair, tmp_path):
    X, estimator, cuts = far_apart(900), beyond_reservoir(n_training_steps=30), [(0, 800), (800, None)]
    X[850, 1] = np.nan
    first, _ = pair(fit_source, estimator, X, cuts, "array", str(tmp_path))
    assert_allclose(first.score_samples(X), clone(estimator).fit(X).score_samples(X), atol=TOLERANCE)
    for message in pair(message_of_source, estimator, X, cuts, "callable", str(tmp_path)):
        assert "X has more than 400 samples and has unknown values (NaN)" in message


def fit_cut_off(rank, X, folder):
    """The file of the second process ends before its samples do."""
    path = Path(folder) / f"{rank}.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    if rank:
        os.truncate(path, 2000)
    with pytest.raises(ValueError, match=r"was cut off|Cannot") as error:
        beyond_reservoir().fit(mapped)
    return str(error.value)


def test_a_file_that_is_cut_off_in_one_process_is_an_error_in_all(pair, tmp_path):
    for message in pair(fit_cut_off, far_apart(1000), str(tmp_path)):
        assert "The file of the memmap X was cut off" in message


def fit_other_columns(rank, X):
    with pytest.raises(ValueError, match="other columns") as error:
        beyond_reservoir().fit(pd.DataFrame(X, columns=["a", "bc"[rank]]))
    return str(error.value)


def test_other_columns_in_one_process_are_an_error_in_all(pair):
    for message in pair(fit_other_columns, far_apart(1000)):
        assert "lacks ['b'] and has ['c']" in message


# -- what is each process's own --------------------------------------------------------------------


def fit_manifold(rank, X):
    return ManifoldDiffusionEstimator(1, "linear", max_iter=2, random_state=0).fit(X[rank])


def test_other_estimators_are_fitted_by_each_process_to_its_own_samples(pair):
    rng = np.random.default_rng(0)
    X = [np.outer(rng.standard_normal(60), [1.0, slope]) for slope in (0.5, -2.0)]
    for rank, estimator in enumerate(pair(fit_manifold, X)):
        direction = estimator.sample(50, random_state=0)
        assert_allclose(direction[:, 1], [0.5, -2.0][rank] * direction[:, 0], atol=1e-3)


def partial_fit_of_other_state(rank, X):
    estimator = small(5)
    if rank:
        estimator = clone(estimator)
        with alone():
            estimator.fit(X[:50])
    with pytest.raises(ValueError, match="differ between the processes") as error:
        estimator.partial_fit(X)
    return str(error.value)


def test_streams_that_go_on_from_different_fits_are_refused(pair):
    for message in pair(partial_fit_of_other_state, samples(80)):
        assert "fitted attributes" in message
        assert "n_samples_seen_" in message
