"""The contract of a density estimator, for which scikit-learn has no checks."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import has_fit_parameter

from skdiffusion._utils.grids import midpoint_grid
from skdiffusion.compose import draw_samples

__all__ = ["check_density_estimator"]

FALSE_ALARM = 1e-4  # of a single Kolmogorov-Smirnov test
N_SAMPLES, N_DRAWS = 150, 1000
NODES = {1: 4001, 2: 141}
REACH = {1: 3.0, 2: 0.7}  # of the box of integration beyond the samples, in units of their range


def _samples(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Two separated Gaussian clusters of masses 0.4 and 0.6."""
    rng = np.random.default_rng(seed)
    first = rng.random(n) < 0.4
    X = rng.standard_normal((n, d)) * 0.5
    X[first] = X[first] * 0.8 + 3.0
    return X


def _fitted(estimator: BaseEstimator) -> tuple[BaseEstimator, np.ndarray]:
    """A clone fitted to samples of two features, and the samples."""
    X = _samples(N_SAMPLES, 2)
    return clone(estimator).fit(X), X


def _seeded(estimator: BaseEstimator) -> BaseEstimator:
    """A clone with `random_state=0`, if it has such a parameter."""
    seeded = clone(estimator)
    if "random_state" in seeded.get_params():
        seeded.set_params(random_state=0)
    return seeded


def _masses(estimator: BaseEstimator, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mid-points of the cells of a box around the samples, the mass of each cell, and its widths."""
    d = X.shape[1]
    reach = REACH[d] * np.ptp(X, axis=0)
    nodes, widths = midpoint_grid(X.min(0) - reach, X.max(0) + reach, NODES[d])
    return nodes, np.exp(estimator.score_samples(nodes)) * np.prod(widths), widths


def _normalized(estimator: BaseEstimator) -> None:
    """exp(score_samples) integrates to 1, in one and two features."""
    for d in (1, 2):
        X = _samples(N_SAMPLES, d)
        mass = _masses(clone(estimator).fit(X), X)[1].sum()
        assert abs(mass - 1) < 0.01, f"the density of {d} feature(s) integrates to {mass:.4f}"


def _samples_agree(estimator: BaseEstimator) -> None:
    """The samples drawn have the distribution that score_samples describes."""
    fitted, X = _fitted(estimator)
    nodes, mass, width = _masses(fitted, X)
    draws = draw_samples(fitted, N_DRAWS, 1)
    rng = np.random.default_rng(0)
    # Nodes move at random within their cells, so that the distribution function is smooth along every direction.
    nodes = nodes + width * (rng.random(nodes.shape) - 0.5)
    for direction in ([1.0, 0.0], [0.0, 1.0], [0.6, -0.8]):
        order = np.argsort(nodes @ direction)
        cdf = np.cumsum(mass[order]) / mass.sum()
        at = np.interp(draws @ direction, (nodes @ direction)[order], cdf)
        p_value = stats.kstest(at, "uniform").pvalue
        assert p_value > FALSE_ALARM, f"along {direction} samples and density disagree (p = {p_value:.1e})"


def _sample_is_array(estimator: BaseEstimator) -> None:
    """sample(n) returns an array of shape (n, n_features) and nothing else."""
    samples = _fitted(estimator)[0].sample(7)
    assert isinstance(samples, np.ndarray), f"sample returned a {type(samples).__name__}"
    assert samples.shape == (7, 2), f"sample(7) has shape {samples.shape}"


def _sample_takes_a_seed(estimator: BaseEstimator) -> None:
    """sample(n, random_state=seed) repeats for one seed and differs for another."""
    fitted, _ = _fitted(estimator)
    assert "random_state" in inspect.signature(fitted.sample).parameters, "sample has no random_state"
    one, same, other = (np.asarray(fitted.sample(20, random_state=s)) for s in (0, 0, 1))
    assert np.array_equal(one, same), "the same seed gave other samples"
    assert not np.array_equal(one, other), "another seed gave the same samples"


def _score_is_the_mean(estimator: BaseEstimator) -> None:
    """score(X) is a float, the mean of score_samples(X)."""
    fitted, X = _fitted(estimator)
    score, mean = fitted.score(X), fitted.score_samples(X).mean()
    assert isinstance(score, float), f"score returned {type(score).__name__}"
    assert np.isclose(score, mean, rtol=1e-9, atol=1e-9), f"score is {score:.6g}, the mean log-density {mean:.6g}"


def _samples_are_independent(estimator: BaseEstimator) -> None:
    """A sample's log-density depends neither on the other samples nor on their order."""
    fitted, X = _fitted(estimator)
    whole = fitted.score_samples(X[:20])
    single = np.concatenate([fitted.score_samples(X[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(single, whole, rtol=1e-7, atol=1e-7, err_msg="one by one")
    np.testing.assert_allclose(fitted.score_samples(X[:20][::-1])[::-1], whole, rtol=1e-7, atol=1e-7, err_msg="order")


def _fit_repeats(estimator: BaseEstimator) -> None:
    """Two fits with the same random_state give the same density."""
    X = _samples(N_SAMPLES, 2)
    seeded = _seeded(estimator)
    one, two = (clone(seeded).fit(X).score_samples(X) for _ in range(2))
    np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-7)


def _affine_equivariant(estimator: BaseEstimator) -> None:
    """Rescaled and shifted features move the log-density by the log-determinant, and nothing else."""
    X, fresh = _samples(N_SAMPLES, 2), _samples(100, 2, seed=1)
    scale, shift = np.array([8.0, 0.25]), np.array([100.0, -3.0])
    seeded = _seeded(estimator)
    plain = clone(seeded).fit(X).score_samples(fresh)
    moved = clone(seeded).fit(X * scale + shift).score_samples(fresh * scale + shift) + np.log(scale).sum()
    worst = np.median(np.abs(plain - moved))
    assert worst < 0.02, f"the median log-density moves by {worst:.3g} nats"


def _finite_far_away(estimator: BaseEstimator) -> None:
    """Samples far from the data have a finite log-density, lower than that of the data."""
    fitted, X = _fitted(estimator)
    far = fitted.score_samples(X[:4] + 1e3 * np.array([[1, 0], [0, 1], [-1, 0], [1, -1]]))
    assert np.isfinite(far).all(), f"log-densities far away: {far}"
    assert far.max() < fitted.score_samples(X).min(), "a sample far away has a larger density than a sample of the data"


def _weights_are_repetition(estimator: BaseEstimator) -> None:
    """Integer weights act, in distribution, as repeated samples, and zero as absence."""
    X = _samples(N_SAMPLES, 2)
    assert has_fit_parameter(estimator, "sample_weight"), "fit has no sample_weight"
    first = X.sum(1) > 3.0
    for weight in (0.0, 5.0):
        w = np.where(first, weight, 1.0)
        share = (draw_samples(clone(estimator).fit(X, sample_weight=w), N_DRAWS, 0).sum(1) > 3.0).mean()
        expected = w[first].sum() / w.sum()
        assert abs(share - expected) < 0.05, f"weight {weight}: share of draws {share:.3f}, of weight {expected:.3f}"


CHECKS: dict[str, Callable[[BaseEstimator], None]] = {
    "normalized": _normalized,
    "samples_agree": _samples_agree,
    "sample_is_array": _sample_is_array,
    "seeded_sampling": _sample_takes_a_seed,
    "score_is_mean": _score_is_the_mean,
    "independent_samples": _samples_are_independent,
    "fit_repeats": _fit_repeats,
    "affine_equivariance": _affine_equivariant,
    "finite_far_away": _finite_far_away,
    "sample_weight": _weights_are_repetition,
}
ESSENTIAL = ("normalized", "samples_agree", "independent_samples", "fit_repeats")
OPTIONAL = tuple(name for name in CHECKS if name not in ESSENTIAL)


def check_density_estimator(
    estimator: BaseEstimator, *, skip: Iterable[str] = (), on_fail: str | None = "raise"
) -> list[dict[str, Any]]:
    """Check what every density estimator should satisfy, beyond scikit-learn's own checks.

    Four checks are always made: the density integrates to 1 in one and two features ("normalized"); samples have the
    distribution that the density describes ("samples_agree"); the density of a sample does not depend on the other
    samples ("independent_samples"); and a seeded fit repeats ("fit_repeats"). The others concern capabilities that
    some estimators do not have.

    Parameters
    ----------
    estimator : density estimator
        Unfitted, with `score_samples` and `sample`. It is cloned, and fitted about a dozen times to at most
        150 samples of one or two features.
    skip : iterable of str, default=()
        Checks that are not made:

        - "sample_is_array": ``sample(n)`` returns an array of shape (n, n_features);
        - "seeded_sampling": ``sample(n, random_state=seed)`` repeats;
        - "score_is_mean": ``score(X)`` is the mean of ``score_samples(X)``;
        - "affine_equivariance": rescaled and shifted features change the log-density by the log-determinant (to 0.02
          nats in the median);
        - "finite_far_away": log-densities a thousand units away are finite;
        - "sample_weight": integer weights act as repeated samples, and zero as absence.
    on_fail : {"raise", None}, default="raise"
        None returns failures instead of raising the first.

    Returns
    -------
    list of dict
        `check_name`, `status` ("passed", "failed" or "skipped") and `exception` of every check.

    Raises
    ------
    AssertionError
        At the first check that fails, unless `on_fail` is None.
    ValueError
        If `skip` names a check that does not exist or is always made.

    Notes
    -----
    Samples are compared with the density by three Kolmogorov-Smirnov tests at level 1e-4: a correct estimator fails
    with a probability below 3e-4. The draws have a fixed seed, so that an outcome repeats.

    Examples
    --------
    >>> from sklearn.neighbors import KernelDensity
    >>> from skdiffusion.testing import check_density_estimator
    >>> results = check_density_estimator(KernelDensity(bandwidth=0.3), on_fail=None)
    >>> [r["check_name"] for r in results if r["status"] == "failed"]
    ['score_is_mean', 'affine_equivariance']
    """
    if on_fail not in ("raise", None):
        raise ValueError(f"The 'on_fail' argument must be 'raise' or None. Got {on_fail!r} instead.")
    skipped = {skip} if isinstance(skip, str) else set(skip)
    if not skipped <= set(OPTIONAL):
        raise ValueError(f"The 'skip' argument must hold names from {list(OPTIONAL)}. Got {skip!r} instead.")
    results = []
    for name, check in CHECKS.items():
        status, exception = "skipped" if name in skipped else "passed", None
        if name not in skipped:
            try:
                check(estimator)
            except Exception as error:  # whatever an estimator of someone else raises is a failure of the check
                status, exception = "failed", error
        if exception is not None and on_fail == "raise":
            message = f"{type(estimator).__name__} fails the check {name!r} ({check.__doc__})"
            raise AssertionError(f"{message} {exception}") from exception
        results.append({"check_name": name, "status": status, "exception": exception})
    return results
