"""Samples beyond the reservoir: what is drawn, what is left out, and what the networks see."""

import time

import numpy as np
import pytest
from scipy.stats import chisquare

from skdiffusion._utils.sources import ArraySource, ChunkReader, source_of
from skdiffusion.diffusion.training import SampleBlocks
from skdiffusion.preprocessing import (
    LeftOutOfStream,
    OwnPart,
    Reservoir,
    ReservoirSampling,
    Resolution,
    TrainingData,
    WeightedSamples,
)


def drawn(X, size, seed=0, source=None):
    """A reservoir of samples."""
    sampling = ReservoirSampling(size, np.random.default_rng(seed))
    sampling.add(X, 0)
    own = OwnPart(ArraySource(X) if source is None else source, ChunkReader(X), len(X))
    return Reservoir(*sampling.kept().drawn(), len(X), own)


def data_of(reservoir, n_folds=4, seed=0):
    samples = WeightedSamples(reservoir.X, np.ones(len(reservoir.X)))
    data = TrainingData.of(samples, None, np.random.default_rng(seed))
    return TrainingData(**{**vars(data), "reservoir": reservoir}).split(n_folds, n_folds)


def blocks_of(data, n_wanted=10**9, place=lambda X, rng: X.astype(float), seed=0):
    training = [data.without(fold) for fold in data.validation_folds]
    return SampleBlocks(data.reservoir, LeftOutOfStream(data, training), place, n_wanted, np.random.default_rng(seed))


def take_often(blocks, shape):
    for _ in range(200):
        blocks.take(shape, shape[1])


def rows(n, d=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


# -- the reservoir -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 10, 99, 100, 300])
@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_what_is_drawn_does_not_depend_on_the_chunks(size, chunk):
    X = rows(100)
    sampling = ReservoirSampling(size, np.random.default_rng(3))
    for start in range(0, 100, chunk):
        sampling.add(X[start : start + chunk], start)
    drawn_X, numbers = sampling.kept().drawn()
    expected = drawn(X, size, seed=3)
    np.testing.assert_array_equal(numbers, expected.numbers)
    assert (np.diff(numbers) > 0).all()
    assert len(numbers) == min(size, 100)
    np.testing.assert_array_equal(drawn_X, X[numbers])


def test_every_sample_is_as_likely_to_be_drawn():
    counts = np.zeros(60)
    for seed in range(2000):
        counts[drawn(np.zeros((60, 1)), 12, seed).numbers] += 1
    assert counts.sum() == 2000 * 12
    assert chisquare(counts).pvalue > 1e-3


# -- what is left out ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_left_out_samples_are_known_by_their_numbers(dtype):
    X = rows(400)
    data = data_of(drawn(X, 100))
    training = [data.without(fold) for fold in data.folds]
    out = LeftOutOfStream(data, training)(X.astype(dtype), np.arange(400))
    for fold, of_member in zip(data.folds, out):
        np.testing.assert_array_equal(np.flatnonzero(of_member), np.sort(data.reservoir.numbers[fold]))
    other_values = LeftOutOfStream(data, training)(rows(400, seed=1), np.arange(400))
    np.testing.assert_array_equal(other_values, out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_of_left_out_samples_are_left_out_wherever_they_are(dtype):
    distinct = rows(80)
    X = np.tile(distinct, (5, 1))
    data = data_of(drawn(X, 150))
    assert data.n_samples < 80
    training = [data.without(fold) for fold in data.folds]
    out = LeftOutOfStream(data, training)(X.astype(dtype), np.arange(400))
    for fold, of_member in zip(data.folds, out):
        held = {x.tobytes() for x in data.given[fold].astype(np.float32)}
        np.testing.assert_array_equal(of_member, [x.tobytes() in held for x in X])


def test_equal_counts_are_no_copies():
    X = np.random.default_rng(0).poisson(2, (400, 2)).astype(float)
    data = data_of(drawn(X, 100))
    assert data.n_samples == 100
    out = LeftOutOfStream(data, [data.without(fold) for fold in data.folds])(X, np.arange(400))
    np.testing.assert_array_equal(out.sum(1), [len(fold) for fold in data.folds])


# -- blocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [101, 150, 1000])
def test_members_see_all_but_what_they_leave_out_and_all_of_it_equally(n):
    """Just above the size of the reservoir, too: what is drawn into it is a part of the stream."""
    X = np.arange(2.0 * n).reshape(n, 2)
    data = data_of(drawn(X + rows(n), 100))
    X = data.reservoir.own.source.X
    blocks, counts, n_passes = blocks_of(data), np.zeros((4, n)), 30
    number = {x.tobytes(): i for i, x in enumerate(X.astype(np.float32))}
    for _ in range(n_passes * n // 50):
        z, picks = blocks.take((5, 10), 10)
        assert picks.shape == (5, 4, 10)
        for member in range(4):
            for pick in picks[:, member].ravel():
                counts[member, number[z[pick].numpy().tobytes()]] += 1
    for member, fold in zip(counts, data.folds):
        left_out = np.zeros(n, dtype=bool)
        left_out[data.reservoir.numbers[fold]] = True
        assert not member[left_out].any()
        seen = member[~left_out]
        assert seen.sum() == n_passes * n // 50 * 50
        # A pass brings every sample once; the pool is less than a pass of a hundred samples and two blocks.
        assert seen.min() > 0
        assert np.abs(seen - seen.mean()).max() < 0.5 * seen.mean()


def test_the_steps_of_a_block_have_samples_of_their_own_and_share_targets():
    blocks = blocks_of(data_of(drawn(rows(1000), 200)))
    z, picks = blocks.take((4, 25), 60)
    assert len(z) == 100
    for member in range(4):
        own = picks[:, member, :25].ravel()
        assert len(np.unique(own)) >= 85  # of 100, a fold apart
        for targets in picks[:, member]:
            assert len(np.unique(targets)) == 60
    assert not np.array_equal(picks[:, 0], picks[:, 1])


def test_samples_of_no_use_are_passed_over():
    data = data_of(drawn(rows(500), 100))
    blocks = blocks_of(data, place=lambda X, rng: np.where(X[:, :1] > 0, X, np.nan))
    for _ in range(30):
        z, picks = blocks.take((2, 20), 20)
        assert (z.numpy()[picks][..., 0] > 0).all()


class Counting:
    """A callable source that counts the chunks that were read."""

    def __init__(self, X, size, seconds=0.0):
        self.X, self.size, self.n_read, self.seconds = X, size, 0, seconds

    def __call__(self):
        for start in range(0, len(self.X), self.size):
            self.n_read += 1
            time.sleep(self.seconds)
            yield self.X[start : start + self.size]


def test_a_short_run_sees_a_share_of_every_part_of_a_long_pass():
    """Samples that are sorted: the beginning alone would be another density."""
    X = np.linspace(0, 1, 20_000)[:, None]
    made = Counting(X, 100)
    data = data_of(drawn(X, 200, source=source_of(made)))
    blocks = blocks_of(data, n_wanted=2000)
    assert blocks.share == pytest.approx(2000 / 20_000)
    seen = np.concatenate([blocks.take((2, 50), 50)[0].numpy() for _ in range(20)])
    assert 180 < made.n_read < 220  # one pass
    counts = np.histogram(seen, bins=4, range=(0, 1))[0]
    assert counts.sum() == 2000
    assert counts.min() > 350  # of 500; the pool holds a tenth


def test_neighbors_of_a_sorted_array_come_apart():
    X = np.linspace(0, 1, 1_000_000, dtype=np.float32)[:, None]
    blocks = blocks_of(data_of(drawn(X, 20_000)), n_wanted=4000)
    assert blocks.share == 1.0
    for _ in range(5):
        counts = np.histogram(blocks.take((10, 50), 50)[0].numpy(), bins=4, range=(0, 1))[0]
        assert counts.min() > 60  # of 125


def test_after_the_deadline_samples_come_again_and_none_is_read():
    made = Counting(rows(5000), 100)
    blocks = blocks_of(data_of(drawn(made.X, 300, source=source_of(made))))
    blocks.take((2, 50), 50)
    before = made.n_read
    for _ in range(20):
        z, _ = blocks.take((2, 50), 50, deadline=time.perf_counter() - 1)
        assert len(z) == 100
    assert made.n_read == before > 0


@pytest.mark.parametrize("later", [0, 3, 7])
def test_a_later_pass_with_other_samples_is_an_error(later):
    X, passes = rows(400), []

    def made():
        passes.append(None)
        return iter([X[:200], X[200:]] if len(passes) == 1 else [X[:50]] * later)

    blocks = blocks_of(data_of(drawn(X, 100, source=source_of(made))))
    with pytest.raises(ValueError, match=f"400 samples when it was read first and {50 * later} in a later pass"):
        take_often(blocks, (2, 20))


def test_nothing_but_copies_of_left_out_samples_is_an_error():
    X = np.concatenate([rows(100), np.repeat(rows(1, seed=1), 4000, 0)])
    reservoir = drawn(X, 120)
    data = data_of(reservoir)
    copied = int(np.argmax(data.sample_weight))
    training = [data.without(np.array([copied]))]
    blocks = SampleBlocks(reservoir, LeftOutOfStream(data, training), lambda X, rng: X, 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match="copies of samples that are left out"):
        take_often(blocks, (1, 2))


def test_round_off_beside_a_spike_and_constants():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(500) < 0.3, 0.3, rng.standard_normal(500))
    resolution = Resolution.of(np.column_stack([x, np.full(500, 7.0)]))
    eps = np.finfo(float).eps
    near = np.array([[0.1 * 3, 7.0], [0.3 + 1e-6, 7.5], [1.0, 7.0]])
    assert near[0, 0] != 0.3
    np.testing.assert_array_equal(resolution.without_round_off(near, eps), [[0.3, 7.0], [0.3 + 1e-6, 7.0], [1.0, 7.0]])
