"""The closed-form components: how much work goes into each."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.densities import GaussianMixtureDensity, stacking_weights
from skdiffusion.densities import _components as _components
from skdiffusion.densities._components import Member, improved
from skdiffusion.diffusion import fitting as _fitting
from skdiffusion.preprocessing import Preprocessor


@pytest.fixture
def mixtures(rng):
    """Mixtures of samples on a circle, scored on four folds; and the folds."""
    angle = rng.uniform(0, 2 * np.pi, 600)
    X = np.column_stack([np.cos(angle), np.sin(angle)]) + 0.1 * rng.standard_normal((600, 2))
    folds, w = np.array_split(rng.permutation(600), 4), np.ones(600)
    return _components._Mixtures(X, w, Preprocessor(X, w), folds[:1], folds, rng), folds


def test_a_better_mixture_is_the_mean_of_more_ends(mixtures):
    made, folds = mixtures
    one = made.member("mixture")
    several = one.better()
    k = len(one.density.density.weights)
    assert k > 1
    assert several.better is None
    assert [len(ends) for ends in made.ends] == [_components.MAX_ENDS] * 4
    ends = [[end.log_prob(made.unseen[fold]) for end in ends] for fold, ends in zip(folds, made.ends)]
    expected = np.concatenate([logsumexp(each, axis=0) - np.log(len(each)) for each in ends])
    assert_allclose(several.held_out, expected + made.log_det[np.concatenate(folds)], rtol=1e-10)
    # Of all samples it has the better half of the ends, which fit all samples at least as well as without a fold.
    assert len(several.density.density.weights) == 4 * _components.MAX_ENDS // 2 * k
    starts = sorted(sum(made.ends, []), key=lambda density: density.log_prob(made.z).mean())[-6:]
    assert several.density.density.log_prob(made.z).mean() > GaussianMixtureDensity.mean(starts).log_prob(made.z).mean()


def test_one_gaussian_has_one_end(rng, monkeypatch):
    monkeypatch.setattr(_components, "select_mixture", lambda *args: ((1, 4.0), 0.0, []))
    X, w = rng.standard_normal((300, 2)), np.ones(300)
    folds = np.array_split(np.arange(300), 4)
    member = _components._Mixtures(X, w, Preprocessor(X, w), folds, folds, rng).member("mixture")
    assert len(member.density.density.weights) == 1
    assert member.better is None


@pytest.mark.parametrize(("share", "ends"), [(0.5, 1), (2.0, _components.MAX_ENDS)])
def test_a_costly_mixture_has_one_end(share, ends, mixtures, rng, monkeypatch):
    made, folds = mixtures
    k = len(made.member("mixture").density.density.weights)
    monkeypatch.setattr(_components, "MAX_STEP", share * k * 600 * 2**2)
    monkeypatch.setattr(_components, "select_mixture", lambda *args: ((k, 4.0), 0.0, []))
    X, w = rng.standard_normal((600, 2)), np.ones(600)
    again = _components._Mixtures(X, w, Preprocessor(X, w), folds[:1], folds, rng)
    assert again.max_ends == ends
    assert (again.member("mixture").better is None) == (ends == 1)


@pytest.mark.parametrize("lead", [0.0, 5.0, 12.0])
def test_mixtures_of_some_weight_together_are_made_better(lead):
    rng, w = np.random.default_rng(0), np.ones(400)
    one, other = rng.normal(0, 0.1, (2, 400))
    mixtures = [Member("mixture", "density", one - lead, lambda: Member("mixture", "better", one - lead + 0.1))]
    mixtures.append(
        Member("mapped_mixture", "density", other - lead - 2, lambda: Member("mapped_mixture", "better", other))
    )
    plain = Member("kernel", "density", np.zeros(400))
    share = sum(_components.blend_weights([*mixtures, plain], w)[:2])
    assert (share > _components.MIN_BETTER) == (lead == 0.0)
    laws = [m.density for m in improved([*mixtures, plain], w)]
    assert laws == (["better", "better", "density"] if lead == 0.0 else ["density"] * 3)


def test_a_better_regression_has_more_orders(rng):
    x = rng.standard_normal((400, 1))
    X = np.column_stack([x, x**2 + 0.1 * rng.standard_normal((400, 1)), rng.standard_normal((400, 2))])
    folds, w = np.array_split(rng.permutation(400), 4), np.ones(400)
    made = _components._Regressions(X, w, Preprocessor(X, w), folds, rng)
    tried = made.score(0, 150)
    assert len(tried) == 200  # two folds at a time
    others = np.full(400, made.score(0).mean() - 0.5)
    one = made.member("regression", others)
    assert len(one.density.density.chains) == 1
    assert_allclose(one.held_out[:200], tried)
    several = one.better()
    assert several.better is None
    assert len(made.orders) == _components.N_ORDERS
    table = np.stack([made.score(k) for k in range(_components.N_ORDERS)], axis=1)
    shares = stacking_weights(np.column_stack([others, table]), w)[1:]
    kept = shares > _components.NEGLIGIBLE
    assert kept.any()
    assert [list(chain.order) for chain in several.density.density.chains] == [
        list(o) for o, k in zip(made.orders, kept) if k
    ]
    expected = logsumexp(table[:, kept], b=shares[kept] / shares[kept].sum(), axis=1)
    assert_allclose(several.held_out, expected, rtol=1e-10)


@pytest.mark.parametrize(("n_features", "expected"), [(2, 2), (3, 4)])
def test_orders_differ_and_each_is_fitted_once(n_features, expected, rng, monkeypatch):
    fits = []
    fit_regression = _components.fit_regression
    monkeypatch.setattr(
        _components,
        "fit_regression",
        lambda z, w, order: fits.append((len(z), tuple(order))) or fit_regression(z, w, order),
    )
    x = rng.standard_normal((200, 1))
    X = np.column_stack([x, x**2 + 0.1 * rng.standard_normal((200, 1)), rng.standard_normal((200, n_features - 2))])
    folds, w = np.array_split(rng.permutation(200), 4), np.ones(200)
    made = _components._Regressions(X, w, Preprocessor(X, w), folds, rng)
    others = made.score(0) - 1.0
    better = made.member("regression", others).better()
    assert better.better is None
    assert len({tuple(order) for order in made.orders}) == len(made.orders) == expected
    of_all_samples = [order for n, order in fits if n == 200]
    assert len(set(of_all_samples)) == len(of_all_samples)
    assert {tuple(chain.order) for chain in better.density.density.chains} <= set(of_all_samples)


def test_what_adds_nothing_keeps_one_order(rng):
    X, w = rng.standard_normal((200, 3)), np.ones(200)
    folds = np.array_split(np.arange(200), 4)
    made = _components._Regressions(X, w, Preprocessor(X, w), folds, rng)
    member = made.member("regression", np.full(200, 100.0)).better()
    assert len(member.density.density.chains) == 1
    assert_allclose(member.held_out, made.score(0))


def test_a_light_kind_is_not_made_better_by_the_weight_of_another():
    w, log_density = np.ones(400), np.random.default_rng(0).normal(0, 0.1, 400)
    mixture = Member("mapped_mixture", "density", log_density, lambda: Member("mapped_mixture", "better", log_density))
    light = Member("power_regression", "density", log_density - 9, lambda: pytest.fail("of no weight"))
    assert [m.density for m in improved([mixture, light], w)] == ["better", "density"]


def test_folds_of_many_samples_are_cut(rng, monkeypatch):
    monkeypatch.setattr(_fitting, "MAX_VALIDATION", 20)
    folds = _fitting.make_folds(np.ones(800), 8, rng)
    assert [len(fold) for fold in folds] == [20] * 8
    assert len(np.unique(np.concatenate(folds))) == 160
    # Of samples half of which hardly count, twice as many are worth as much.
    uneven = np.where(np.arange(800) % 2, 1.0, 1e-9)
    assert [len(fold) for fold in _fitting.make_folds(uneven, 8, rng)] == [40] * 8
    assert sum(map(len, _fitting.make_folds(np.ones(83), 8, rng))) == 83


@pytest.mark.parametrize(("n_samples", "n_parts"), [(19, 4), (40, 2), (100, 1)])
def test_cut_folds_are_left_out_together(n_samples, n_parts):
    folds = np.array_split(np.arange(80), 4)
    parts = _components._left_out_together(folds, n_samples)
    assert len(parts) == n_parts
    assert_allclose(np.concatenate(parts), np.arange(80))


def test_cut_folds_give_much_the_same_blend(rng, monkeypatch):
    X = np.column_stack([rng.standard_normal(1600), rng.gamma(2, size=1600), rng.standard_t(4, size=1600)])
    X[:, 1] += X[:, 0] ** 2
    small = DiffusionDensityEstimator((16, 16), n_estimators=2, max_iter=40, random_state=0)
    whole = small.fit(X[:800]).score(X[800:])
    monkeypatch.setattr(_fitting, "MAX_VALIDATION", 40)
    fits = []
    single = _components.fit_student_t
    monkeypatch.setattr(_components, "fit_student_t", lambda z, w: fits.append(len(z)) or single(z, w))
    assert small.fit(X[:800]).score(X[800:]) == pytest.approx(whole, abs=0.05)
    assert fits == [720, 800]  # without both folds at once, and all samples
