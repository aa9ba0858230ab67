"""Completed samples that stand for incomplete ones: what is known of these is what counts, and they count once."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdiffusion import DiffusionDensityEstimator
from skdiffusion._utils.numerics import effective_number
from skdiffusion._utils.patterns import Patterns
from skdiffusion.densities import (
    Completion,
    GaussianMixtureDensity,
    IncompleteSamples,
    MixtureSearch,
    TransformedDensity,
    fit_incomplete_student_t,
)
from skdiffusion.densities._feature_transforms import _is_clear
from skdiffusion.preprocessing import CompletedSamples, MappedData, Preprocessor, TrainingData
from skdiffusion.preprocessing._copies import WeightedSamples
from tests.conftest import draw


def test_patterns_part_the_samples(rng):
    X = np.where(rng.random((200, 4)) < 0.4, np.nan, 1.0)
    parts = list(Patterns.of(X).parts())
    assert_array_equal(np.sort(np.concatenate([samples for samples, _ in parts])), np.arange(200))
    for samples, features in parts:
        known = np.isin(np.arange(4), features)
        assert (~np.isnan(X[samples]) == known).all()
    assert len(parts) == len({tuple(features) for _, features in parts})


def test_numbers_of_sources_by_hand():
    completed = CompletedSamples(
        np.array([0, 1, 1, 2, 4, 4, 4]), np.array([0.0, 1.0, 2.0, 0.0, 0.5, 0.5, 0.5]), np.ones((7, 1), bool)
    )
    weight = np.array([1.0, 0.5, 0.5, 2.0, 0.2, 0.2, 0.2])
    assert_allclose(completed.whole_weight(weight), [1, 1, 1, 2, 0.6, 0.6, 0.6])
    fold = np.array([4, 5, 6, 1, 2])
    assert_array_equal(completed.first(fold), [4, 1])
    assert_array_equal(completed.all_of(np.array([1, 3])), [1, 2, 3])
    values = np.log([1.0, 2.0, 3.0, 5.0, 7.0])
    expected = np.log([np.exp(-0.5) * 6 / 3, (np.exp(-1) * 5 + np.exp(-2) * 7) / 2])
    assert_allclose(completed.observed(values, fold), expected)
    assert_allclose(completed.mean(np.array([1.0, 2.0, 3.0, 5.0, 7.0]), fold), [2, 6])
    assert completed.information(weight) == pytest.approx(
        effective_number(np.array([1, 1, 2, 0.6])) / effective_number(weight)
    )


@pytest.fixture
def oracle(rng):
    """Samples with gaps of a mixture, completed by draws from another one."""
    roots = rng.standard_normal((2, 3, 3)) * 0.5
    truth = GaussianMixtureDensity(
        [0.4, 0.6], rng.standard_normal((2, 3)), roots @ roots.transpose(0, 2, 1) + 0.3 * np.eye(3)
    )
    X = draw(truth, 400, 0)
    return truth, X, np.where(rng.random(X.shape) < 0.3, np.nan, X)


def drawn_samples(gaps, n_draws):
    gaps = gaps[~np.isnan(gaps).all(1)]
    completion = Completion(gaps, np.ones(len(gaps)), None, np.random.default_rng(0))
    return gaps, completion, completion.drawn(n_draws=n_draws)


def known_log_prob(density, gaps):
    out = np.empty(len(gaps))
    for samples, features in Patterns.of(gaps).parts():
        out[samples] = density.marginal(features).log_prob(gaps[np.ix_(samples, features)])
    return out


def test_the_density_that_draws_has_its_own_marginal_at_what_is_known_to_round_off(oracle):
    gaps, completion, samples = drawn_samples(oracle[2], 3)
    values = completion.density.log_prob(samples.X)
    found = samples.completed.observed(values, np.arange(len(values)))
    assert_allclose(found, known_log_prob(completion.density, gaps), atol=1e-9)


def test_another_density_has_its_marginal_there_within_the_error_of_the_draws(oracle):
    truth = TransformedDensity(
        Preprocessor(oracle[1], np.ones(400)), GaussianMixtureDensity([1], [[0.2] * 3], [np.eye(3)])
    )
    gaps, completion, samples = drawn_samples(oracle[2], 200)
    values, everything = truth.log_prob(samples.X), np.arange(len(samples.X))
    exact, found = known_log_prob(truth, gaps), samples.completed.observed(values, everything)
    terms = np.exp(values - samples.completed.log_proposal - exact[samples.completed.source])
    number = np.bincount(samples.completed.source)
    first, second = (np.bincount(samples.completed.source, terms**k) / number for k in (1, 2))
    error = np.sqrt(np.maximum(second - first**2, 0) / number)
    usable = error < 0.15
    assert usable.mean() > 0.9
    assert (np.abs(np.exp(found - exact) - 1)[usable] < 5 * error[usable] + 1e-9).all()
    # The log-densities of completed samples themselves are behind, by what they are unlike the density that draws.
    own = np.bincount(samples.completed.source, values - samples.completed.log_proposal) / number
    assert (exact - own).mean() > 0.02


def test_a_fold_has_one_value_and_one_weight_for_each_sample(oracle, rng):
    gaps, completion, samples = drawn_samples(oracle[2], 3)
    data = TrainingData.of(samples, None, rng).split(5, 2)
    z, log_det = completion.density.preprocessor.transform(data.X)
    mapped = MappedData(completion.density.preprocessor, z, z, log_det, data.completed)
    sources = data.completed.source[data.validated]
    assert len(sources) == len(set(sources.tolist()))
    assert set(sources) == set(data.completed.source[np.concatenate(data.validation_folds)])
    assert_allclose(data.validation_weight, data.validation_weight[0])
    values = [mapped.log_prob_left_out(completion.density.density, fold) for fold in data.validation_folds]
    assert_allclose(np.concatenate(values), known_log_prob(completion.density, gaps)[sources], atol=0.02)
    assert data.n_effective == len(gaps)


def test_draws_of_one_sample_are_one_sample_in_the_search_for_a_mixture(oracle, rng):
    """As many Gaussians are chosen, and by the same values, as if each incomplete sample were there once."""
    X = oracle[1]
    repeated, source = np.repeat(X, 3, axis=0), np.repeat(np.arange(400), 3)
    folds = np.array_split(np.arange(400), 4)
    once = MixtureSearch(X, np.ones(400), folds, np.random.default_rng(1))
    thrice = MixtureSearch(
        repeated,
        np.full(1200, 1 / 3),
        [np.flatnonzero(np.isin(source, fold)) for fold in folds],
        np.random.default_rng(1),
        completed=CompletedSamples(source, np.zeros(1200), np.ones((1200, 3), bool)),
    )
    assert_allclose(thrice._shares(4), once._shares(4))
    setting = once._leading(once._strong, 1, 0.0)[0]
    single = setting._replace(n_components=1)
    assert_allclose(thrice._out_of_fold(single, 4), once._out_of_fold(single, 4), atol=1e-6)


def test_draws_of_one_sample_are_one_sample_in_the_choice_of_logarithms(rng):
    """A gain of 1.5 standard errors of the samples is none, though of three draws of each it would be one of 2.6."""
    gain, source = rng.standard_normal(200), np.repeat(np.arange(200), 3)
    gain += 1.5 * gain.std() / np.sqrt(200) - gain.mean()
    completed = CompletedSamples(source, np.zeros(600), np.ones((600, 2), bool))
    samples = WeightedSamples(rng.standard_normal((600, 2)), np.full(600, 1 / 3), None, completed)
    data = replace(TrainingData.of(samples, None, rng), folds=tuple(np.split(np.arange(600), 4)))
    assert not _is_clear(data, np.repeat(gain, 3))
    assert _is_clear(data, np.repeat(gain + gain.mean(), 3))


def test_the_student_t_of_a_fit_is_that_of_what_is_known(oracle):
    est = DiffusionDensityEstimator((8, 8), max_iter=2, n_estimators=1, components=["student"], random_state=0)
    student = est.fit(oracle[2]).blend_.densities["student"]
    X = oracle[2][~np.isnan(oracle[2]).all(1)]
    center, scale = np.nanmean(X, axis=0), np.nanstd(X, axis=0)
    alone = fit_incomplete_student_t(IncompleteSamples((X - center) / scale, np.ones(len(X))))
    scatter = student.preprocessor.whitening.scale
    maps = np.array([m.log_slope(np.zeros(1))[0] for m in student.preprocessor.maps])
    in_units = student.density.scale * np.outer(scatter / np.exp(maps), scatter / np.exp(maps))
    assert student.density.degrees == alone.degrees
    assert_allclose(in_units, alone.scale * np.outer(scale, scale), rtol=0.02, atol=0.01)
