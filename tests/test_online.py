"""`partial_fit`: a stream of the same density leaves it as good, a density that moves is followed."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from skdiffusion import DiffusionDensityEstimator, Options, load
from skdiffusion.densities import Component, StudentTDensity
from skdiffusion.estimators._replay import MAX_SAMPLES, ReplayBuffer
from skdiffusion.exceptions import DegenerateDataWarning
from skdiffusion.preprocessing import Preprocessor, Resolution, TrainingData

SMALL = DiffusionDensityEstimator(
    (16, 16), n_estimators=4, n_steps=16, random_state=0, options=Options(n_training_steps=300)
)


def normal(n, rng, mean=0.0):
    return rng.standard_normal((n, 2)) + [mean, 0.0]


def skewed(n, rng):
    """Neither a Gaussian nor a mixture of a few; correlated."""
    X = rng.gamma(2.0, size=(n, 3))
    X[:, 1] += X[:, 0]
    return X


def counts(n, rng):
    """A feature of counts beside one without ties."""
    k = rng.poisson(4, n)
    return np.column_stack([k, k / 2 + rng.standard_normal(n)])


CASES = {case.__name__: case for case in (normal, skewed, counts)}


@pytest.fixture(scope="module")
def firsts():
    """Small first fits of 300 samples, by case."""
    return {name: clone(SMALL).fit(case(300, np.random.default_rng(0))) for name, case in CASES.items()}


@pytest.fixture
def first(firsts):
    """A copy of the fit to normal samples."""
    return pickle.loads(pickle.dumps(firsts["normal"]))


@pytest.mark.parametrize(("size", "n_calls"), [(1, 50), (7, 30), (60, 8)])
@pytest.mark.parametrize("name", CASES)
def test_a_stream_of_the_same_density_leaves_it_as_good(firsts, name, size, n_calls, rng):
    est, case = pickle.loads(pickle.dumps(firsts[name])), CASES[name]
    fresh = case(3000, rng)
    before = est.score(fresh)
    for _ in range(n_calls):
        est.partial_fit(case(size, rng))
    assert est.score(fresh) > before - 0.02


@pytest.mark.parametrize(("size", "n_calls", "rise"), [(1, 60, 0.3), (7, 50, 1.3), (60, 12, 1.7)])
def test_a_stream_with_another_mean_moves_the_density_to_it(first, size, n_calls, rise, rng):
    """Two standard deviations cost 2 nats."""
    fresh = normal(2000, rng, 2.0)
    before = first.score(fresh)
    assert before < -4.5
    for _ in range(n_calls):
        first.partial_fit(normal(size, rng, 2.0))
    assert before + rise < first.score(fresh) < before + 2.0


def test_a_component_without_weight_gains_it_where_it_serves(rng):
    """The networks of a fit that a kernel density has won take over once the stream leaves its samples behind."""
    center = np.where(rng.random(200) < 0.5, -3.0, 3.0)[:, None]
    est = clone(SMALL).set_params(components=["kernel"]).fit(center + rng.standard_normal((200, 2)))
    weight = est.component_weights_["diffusion"]
    for _ in range(6):
        est.partial_fit(rng.standard_normal((60, 2)))
    assert est.component_weights_["diffusion"] > weight + 0.3
    assert est.component_weights_ == est.blend_.weights


def test_the_resolution_is_that_of_the_fit(firsts, rng):
    """Chunks in which a feature is constant, or all values of a count differ, tell nothing of its grid."""
    est = pickle.loads(pickle.dumps(firsts["counts"]))
    fresh = counts(3000, rng)
    before = est.score(fresh)
    chunks = [counts(200, rng) for _ in range(3)]
    for X in chunks:
        for k in range(10):
            est.partial_fit(X[X[:, 0] == k]) if (X[:, 0] == k).any() else None
    kept = est._replay.X[-50:]
    assert np.abs(kept[:, 0] - np.round(kept[:, 0])).max() > 0.3  # spread over steps of one
    assert est.score(fresh) > before - 0.02


def test_a_sample_that_repeats_counts_once(first):
    x = np.array([[0.3, -0.2]])
    before = first.score_samples(x)
    for _ in range(50):
        first.partial_fit(np.repeat(x, 7, axis=0))
    assert first.n_samples_seen_ == 300 + 350
    assert len(first._replay.X) == 301
    np.testing.assert_array_equal(first.score_samples(x), before)


def test_weights_of_a_call(first, rng):
    """They are relative, zero is absence, and what weighs next to nothing is not learned."""
    X = np.concatenate([normal(60, rng), normal(60, rng, 5.0)])
    w = np.repeat([1.0, 0.0], 60)
    copies = [pickle.loads(pickle.dumps(first)) for _ in range(4)]
    absent, zero, scaled, light = (
        est.partial_fit(samples, sample_weight=weight)
        for est, samples, weight in zip(copies, [X[:60], X, X, X], [None, w, 8 * w, w + 1e-9])
    )
    fresh = normal(500, rng)
    np.testing.assert_array_equal(zero.score_samples(fresh), absent.score_samples(fresh))
    np.testing.assert_array_equal(scaled.score_samples(fresh), absent.score_samples(fresh))
    assert light.score(fresh) > first.score(fresh) - 0.02
    assert light._replay.n_effective == pytest.approx(absent._replay.n_effective, rel=1e-6)


def test_a_stream_goes_on_from_a_file(first, rng, tmp_path):
    chunks, fresh = [normal(size, rng, 1.0) for size in (10, 1, 30, 5, 60)], normal(50, rng)
    first.partial_fit(chunks[0])  # some samples wait
    first.save(tmp_path / "stream.skd")
    others = [load(tmp_path / "stream.skd"), pickle.loads(pickle.dumps(first))]
    for est in (first, *others):
        for chunk in chunks[1:]:
            est.partial_fit(chunk)
    for other in others:
        np.testing.assert_array_equal(other.score_samples(fresh), first.score_samples(fresh))
        assert other.n_samples_seen_ == first.n_samples_seen_ == 406


def test_samples_wait_until_they_make_a_round(first, rng):
    x, n_iter, n_losses = normal(20, rng), first.n_iter_, len(first.loss_curve_)
    before = first.score_samples(x)
    for sample in x[:15]:
        first.partial_fit(sample[None])
    assert first._replay.n_waiting == 15
    assert (first.n_iter_, len(first.loss_curve_)) == (n_iter, n_losses)
    np.testing.assert_array_equal(first.score_samples(x), before)
    first.partial_fit(x[15:])
    assert first._replay.n_waiting == 0
    assert first.n_iter_ > n_iter
    assert len(first.loss_curve_) > n_losses


def test_a_stream_may_begin_with_few_samples():
    gains = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        est, fresh = clone(SMALL).set_params(random_state=seed), normal(2000, rng)
        before = est.partial_fit(normal(20, rng)).score(fresh)
        for _ in range(20):
            est.partial_fit(normal(10, rng))
        gains.append(est.score(fresh) - before)
        assert est.n_samples_seen_ == 220
    assert np.mean(gains) > 0


MAP = Preprocessor(np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]]), np.ones(4))


def buffer_of(X, n_folds=4, weight=None, seed=0):
    rng = np.random.default_rng(seed)
    w = np.ones(len(X)) if weight is None else weight
    data = TrainingData(X, w, (), 0, None, rng, Resolution.of(X)).split(n_folds, n_folds)
    density = StudentTDensity(np.zeros(X.shape[1]), np.eye(X.shape[1]), 4.0)
    component = Component("student", density, X[data.validated, 0], "student", min_weight=0.002)
    return ReplayBuffer.of_fit(data, data.mapped(MAP), [component], rng)


def followed(buffer, X, weight=None, seed=1):
    weight = np.ones(len(X)) if weight is None else weight
    data = TrainingData(X, weight, (), 0, None, np.random.default_rng(seed), buffer.resolution)
    return buffer.followed_by(data, MAP, X[:, :1])


def test_the_buffer_keeps_the_latest_samples_in_their_folds(rng):
    X, later = rng.standard_normal((1500, 2)), rng.standard_normal((900, 2))
    buffer = buffer_of(X)
    more = followed(buffer, later)
    assert len(more.X) == MAX_SAMPLES
    assert more.n_waiting == 900
    np.testing.assert_array_equal(np.sort(more.X[more.waiting], axis=0), np.sort(later, axis=0))
    np.testing.assert_array_equal(more.X[:1100], buffer.X[400:])
    np.testing.assert_array_equal(more.fold[:1100], buffer.fold[400:])
    np.testing.assert_array_equal(more.log_prob[:, 0], more.X[:, 0])  # all went along with their samples
    np.testing.assert_allclose(more.z_left_out, more.X - 1.0, atol=1e-5)
    assert np.ptp(np.bincount(more.fold)) <= 1
    assert len(followed(buffer, rng.standard_normal((5000, 2))).X) == MAX_SAMPLES
    assert len(buffer_of(rng.standard_normal((3000, 2))).X) == MAX_SAMPLES
    np.testing.assert_array_equal(more.latest(10).X, more.X[more.waiting])
    trained = more.trained(np.array([3, 5]), [np.array([7.0, 8.0])])
    np.testing.assert_array_equal(np.flatnonzero(trained.log_prob[:, 0] != more.log_prob[:, 0]), [3, 5])
    forgetting = trained.latest(1000)
    np.testing.assert_array_equal(forgetting.X, more.X[1000:])
    assert forgetting.n_waiting == 0
    folds = more.training_data(4, rng).folds
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(MAX_SAMPLES))


def test_copies_in_the_buffer_keep_their_folds(rng):
    X = rng.standard_normal((100, 2))
    buffer = buffer_of(X)
    again = followed(buffer, np.repeat(X[:40], 3, axis=0))
    assert len(again.X) == 100
    assert again.n_waiting == 40
    folds = {x.tobytes(): fold for x, fold in zip(buffer.X, buffer.fold)}
    assert all(folds[x.tobytes()] == fold for x, fold in zip(again.X, again.fold))


def test_equal_samples_of_values_that_repeat_all_stay_in_the_buffer(rng):
    def table(n):
        return np.column_stack([np.round(rng.lognormal(7, 1, n)), rng.integers(0, 5, n)])

    buffer, parts = buffer_of(table(100)), [table(100) for _ in range(14)]
    for part in parts:
        buffer = followed(buffer, part)
    assert len(buffer.X) == 1500
    counts = rng.integers(0, 4, (300, 2)).astype(float)
    assert len(followed(buffer_of(counts[:100]), counts[100:]).X) == 300


@pytest.mark.filterwarnings("ignore:Features")
def test_a_constant_feature_that_moves_is_named(rng):
    X = np.column_stack([rng.standard_normal(80), np.full(80, 2024.0)])
    est = DiffusionDensityEstimator(max_iter=2, hidden_layer_sizes=(8, 8), random_state=0).fit(X)
    with pytest.warns(DegenerateDataWarning, match=r"Features \[1\] were constant in the first call"):
        est.partial_fit(X + [0.0, 1.0])


def test_weights_in_the_buffer_count_effective_samples(rng):
    X, w = rng.standard_normal((100, 2)), rng.uniform(0.5, 4.0, 100)
    buffer = buffer_of(X, weight=w)
    n_effective = w.sum() ** 2 / (w @ w)
    assert buffer.n_effective == pytest.approx(n_effective)
    more = followed(buffer, rng.standard_normal((30, 2)), weight=np.full(30, 5.0))
    assert more.n_effective == pytest.approx(n_effective + 30)
    assert more.share_waiting == pytest.approx(30 / (n_effective + 30))
