"""DiffusionRegressor: the whole distribution of y given X, as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.blocks import VECTOR, in_parts, slices, whole_vectors
from skdiffusion._utils.frames import as_numbers
from skdiffusion._utils.parallel import workers
from skdiffusion._utils.progress import CallbackSupportMixin, with_callbacks
from skdiffusion._utils.validation import (
    Interval,
    StrOptions,
    check_bounds,
    check_count,
    check_magnitude,
    check_targets,
    check_weights,
    draw_seed,
    fit_context,
    generator_seed,
    resolve_device,
    validate_data,
    without_overshoot,
)
from skdiffusion.densities.predictive import COMPONENTS, TargetDistributions, TargetModel, TargetNoise
from skdiffusion.estimators._base import SavableEstimator
from skdiffusion.estimators._conditional import check_probabilities
from skdiffusion.estimators._density import DiffusionDensityEstimator
from skdiffusion.estimators._distributed import by_itself
from skdiffusion.estimators._options import Options, OptionsMixin
from skdiffusion.estimators._regressor_fit import RegressionFit, resolve_atoms
from skdiffusion.estimators._table_kinds import Table, coded, kinds_of

MAX_CATEGORIES = 255  # of a feature, which trees take
MARGINAL_DRAWS = 256  # of outputs given others, for what is said of each of them
ROWS_TOGETHER = 200_000  # draws of several samples whose numbers are in memory at a time
IN_CACHE = 2048  # samples whose distributions are made together: those of more leave the cache of a core
N_STARTS = 64  # probabilities from which the shortest interval may start


class DiffusionRegressor(CallbackSupportMixin, MultiOutputMixin, RegressorMixin, OptionsMixin, SavableEstimator):
    r"""Regression by the whole distribution of y given X: its density, quantiles, intervals and draws.

    A diffusion model of y, or of what gradient-boosted trees leave of it, is blended with the trees themselves, as a
    density, with a forest of randomized trees, with mixture density networks, and with conditionals of a Gaussian
    mixture and of a Student-t, by weights w that are learned on samples left out:

    .. math:: p(y \mid x) = \sum_k w_k\,p_k(y \mid x).

    The density is exact and normalized, and may have any shape: several modes, skewness, a spread that depends on X.
    Several outputs are modeled one after the other, each given X and those before it.

    Parameters
    ----------
    components : "auto" or list of str, default="auto"
        Densities to blend, among "trees", "forest", "mixture", "student", "network" and "diffusion". "auto" is all of
        them, as far as they add to the blend.
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the two hidden layers of the networks; those of mixture density networks are at most 64.
    n_estimators : "auto" or int, default="auto"
        Networks of the diffusion model, each of which leaves out another fold.
    max_iter : "auto" or int, default="auto"
        Passes over the samples (epochs) of the training of the networks.
    bounds : pair (low, high) or None, default=None
        Known bounds of y, numbers or arrays of shape (n_outputs,), infinite where open.
    atoms : "auto", list of float, dict or None, default=None
        Values of y that carry mass, as the zeros of claims: they have a probability, and `log_prob` there is its
        logarithm; the rest of y has a density. A dictionary has lists by the number of the output. "auto" finds them,
        as `find_atoms` does, and counts samples by their weights. Atoms that no sample has are left out. None spreads
        values that repeat over cells; on a grid of at most 20 cells the density is even within each.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Columns of X that are categories: a mask, numbers or names. "from_dtype" are those of a frame with the dtypes
        of categories, text and booleans. At most 255 categories a column; unknown ones count as missing.
    max_fit_seconds : float or None, default=None
        Wall-clock time that `fit` should take at most: the training of the networks is shortened to end in time, and
        the search for a mixture. Trees, which come first, are fitted whatever it says.
    device : str, default="auto"
        Torch device. "auto" is a CUDA GPU if there is one, else the CPU.
    n_jobs : int or None, default=None
        Threads of the methods that look at fitted distributions, with the same bits whatever their number.
    random_state : int, RandomState instance or None, default=None
        Seed of everything random. An int makes `fit` and `sample_y` repeatable.
    verbose : int, default=0
        If positive, show a progress bar of the training of the networks.
    options : Options or None, default=None
        Settings of the networks: activation, training, folds, noise levels and solver. Those of whole densities
        (pilots, fine-tuning, intervals, clipping, sparsity, components) do not apply. None takes the defaults.

    Attributes
    ----------
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str
        Names of the features, where `X` had them.
    n_outputs_ : int
        Columns of y.
    models_ : list of TargetModel
        One for each output, given the features and the outputs before it.
    component_weights_ : dict or list of dict
        Weight of every component; a list of several outputs.
    atoms_ : dict
        Rising atoms by number of the output.
    n_iter_ : int
        Epochs of the training of the networks, of the output that took most of them.

    References
    ----------
    Song et al. (2021), Score-based generative modeling through stochastic differential equations.
    Smyth and Wolpert (1999), Linearly combining density estimators via stacking.

    See Also
    --------
    DiffusionDensityEstimator : The joint density of all features, with conditionals of any given any others.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(size=(200, 2))
    >>> y = X[:, 0] + 0.1 * rng.normal(size=200)
    >>> reg = DiffusionRegressor(max_iter=5, random_state=0).fit(X, y)
    >>> reg.predict_interval(X[:3], coverage=0.9).shape
    (3, 2)
    >>> reg.log_prob(X[:3], y[:3]).shape
    (3,)
    >>> reg.predict(X[:3]).shape, reg.cdf(X[:3], y[:3]).shape
    ((3,), (3,))
    >>> reg.predict_quantiles(X[:3], [0.1, 0.9]).shape, reg.sample_y(X[:3], 20, random_state=0).shape
    ((3, 2), (3, 20))
    >>> bool(reg.score(X, y) > 0.5)
    True
    """

    _saved = (
        "n_features_in_", "feature_names_in_", "n_outputs_", "models_", "component_weights_", "atoms_", "n_iter_",
        "_table", "_sample_seed",
    )  # fmt: skip

    _parameter_constraints: dict = {
        "components": [StrOptions({"auto"}), list, tuple],
        "hidden_layer_sizes": [StrOptions({"auto"}), "array-like"],
        "n_estimators": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "bounds": ["array-like", None],
        "atoms": [StrOptions({"auto"}), dict, "array-like", None],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
        "max_fit_seconds": [Interval(Real, 0, None, closed="neither"), None],
        "device": [str],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "options": [Options, None],
    }

    models_: list[TargetModel]
    _table: Table | None

    def __init__(
        self,
        components: Any = "auto",
        *,
        hidden_layer_sizes: Any = "auto",
        n_estimators: Any = "auto",
        max_iter: Any = "auto",
        bounds: Any = None,
        atoms: Any = None,
        categorical_features: Any = "from_dtype",
        max_fit_seconds: float | None = None,
        device: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        options: Options | None = None,
    ):
        self.components = components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_estimators = n_estimators
        self.max_iter = max_iter
        self.bounds = bounds
        self.atoms = atoms
        self.categorical_features = categorical_features
        self.max_fit_seconds = max_fit_seconds
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.options = options

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DiffusionRegressor:
        """Fit the distribution of y given X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least 2 samples. NaN means unknown. Columns of labels of a frame are categories unless
            `categorical_features` says otherwise.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Finite numbers, within `bounds`.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights. A sample of weight zero is absent, an integer weight is that of as many equal
            samples, and multiplying all by a constant changes nothing.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For features or targets that are infinite, a target that is NaN, out of bounds or too short, and for bad
            weights or parameter values. An earlier fit is then left as it was.

        Warns
        -----
        InterruptedFitWarning
            After Ctrl-C during training: the best weights so far are kept.
        DegenerateDataWarning
            For a constant target, which has no density.
        """
        with by_itself(self), workers(1):
            self._fit(X, y, sample_weight)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        kinds = kinds_of(X, self.categorical_features) if y is not None else None
        numbers = X if kinds is None else kinds.coded(X)
        samples = validate_data(self, numbers, dtype=np.float64, ensure_min_samples=2, reset=True, allow_nan=True)
        Y = check_targets(self, as_numbers(y), samples)
        weight = check_weights(sample_weight, samples)
        check_magnitude(X=samples, y=Y)
        kept = weight > 0
        samples, Y, weight = samples[kept], Y[kept], weight[kept]
        if (bounds := check_bounds(self.bounds, Y.shape[1])) is not None:
            Y = without_overshoot(Y, *bounds, np.finfo(Y.dtype).eps)
        if bounds is not None and (outside := ((Y < bounds[0]) | (Y > bounds[1])).any(1)).any():
            raise ValueError(
                f"{outside.sum()} of {len(Y)} samples of y lie outside 'bounds' (the first is sample "
                f"{np.flatnonzero(outside)[0]}): widen 'bounds' or drop these samples."
            )
        assert kinds is not None
        table, atoms = kinds.table(samples, None), resolve_atoms(self.atoms, (samples, Y, weight))
        categories = () if table is None else tuple(table.columns.categories)
        if crowded := [j for j in categories if len(np.unique(samples[:, j])) > MAX_CATEGORIES]:
            raise ValueError(
                f"Feature {kinds.name(crowded[0])!r} has more than {MAX_CATEGORIES} categories: join the rare ones, "
                "leave the feature out, or make it numeric by 'categorical_features'."
            )
        rng = np.random.default_rng(generator_seed(self.random_state))
        sample_seed = int(rng.integers(2**62))
        fit = RegressionFit(
            self._network_settings(),
            self._component_names(),
            bounds,
            atoms,
            categories,
            resolve_device(self.device),
            self.max_fit_seconds,
        )
        models, fits = fit.run((samples, Y, weight), rng, self)
        self.models_, self.n_outputs_, self._table, self._sample_seed = models, Y.shape[1], table, sample_seed
        self.atoms_ = {j: values for j, values in enumerate(atoms) if len(values)}
        weights = [one.blend.weights for one in fits]
        self.component_weights_ = weights[0] if len(weights) == 1 else weights
        self.n_iter_ = max(one.n_epochs for one in fits)

    def _network_settings(self) -> DiffusionDensityEstimator:
        """An estimator with the parameters of the networks."""
        return DiffusionDensityEstimator(
            self.hidden_layer_sizes, n_estimators=self.n_estimators, max_iter=self.max_iter, options=self.options
        )

    def _component_names(self) -> tuple[str, ...]:
        """The components that are asked for.

        Raises
        ------
        ValueError
            If there is none, or a name is unknown.
        """
        names = COMPONENTS if isinstance(self.components, str) else tuple(self.components)
        if not names or (unknown := [name for name in names if name not in COMPONENTS]):
            wrong = repr(unknown[0]) if names else "none"
            raise ValueError(
                f"The 'components' parameter must be 'auto' or a list of names among {list(COMPONENTS)}. "
                f"Got {wrong} in {self.components!r}."
            )
        return names

    # -- what the distributions say --------------------------------------------------------------

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        samples = validate_data(self, coded(self, X), dtype=np.float64, reset=False, allow_nan=True)
        check_magnitude(X=samples)
        return samples

    def _checked_targets(self, y: Any, X: np.ndarray) -> np.ndarray:
        Y = check_targets(self, as_numbers(y), X)
        check_magnitude(y=Y)
        if Y.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {Y.shape[1]} outputs, but {type(self).__name__} was fitted to {self.n_outputs_}.")
        return Y

    def _by_parts(
        self, function: Callable[[np.ndarray, slice], np.ndarray], X: np.ndarray, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Values, of a shape for each sample, of a function of samples and of the part of X that these are."""
        out = np.empty((len(X), *shape))

        def evaluate(part: slice) -> None:
            for few in slices(part.stop - part.start, IN_CACHE):
                own = slice(part.start + few.start, part.start + few.stop)
                out[own] = function(whole_vectors(X[own]), own)[: len(X[own])]

        with workers(self.n_jobs):
            in_parts(evaluate, len(X))
        return out

    def _drawn(self, X: np.ndarray, noise: list[TargetNoise]) -> np.ndarray:
        """Draws (n_samples, n_draws, n_outputs) given samples X, by numbers (n_samples, n_draws) of every output."""
        n, n_draws = noise[0].normal.shape
        size = max(VECTOR, ROWS_TOGETHER // max(1, n_draws) // VECTOR * VECTOR)
        parts = [self._drawn_together(X[part], [one.take(part) for one in noise]) for part in slices(n, size)]
        return np.concatenate(parts) if parts else np.empty((n, n_draws, self.n_outputs_))

    def _drawn_together(self, X: np.ndarray, noise: list[TargetNoise]) -> np.ndarray:
        """The same of few samples."""
        n, n_draws = noise[0].normal.shape
        rows, out = np.repeat(np.arange(n), n_draws), np.empty((n * n_draws, len(self.models_)))
        for j, (model, own) in enumerate(zip(self.models_, noise)):
            if j == 0:
                distributions = model.given(X).take(rows)
            else:
                distributions = model.given(np.column_stack([X[rows], out[:, :j]]))
            out[:, j] = distributions.sample(own.apply(np.ravel))
        return out.reshape(n, n_draws, -1)

    def _marginal_draws(self, X: np.ndarray) -> np.ndarray:
        """Draws (n_samples, n_draws, n_outputs) by the same evenly spread numbers for every sample."""
        k = len(self.models_)
        spread = qmc.Sobol(9 * k, seed=0).random(MARGINAL_DRAWS)
        spread = np.clip(spread, 1e-9, 1 - 1e-9)
        columns = np.broadcast_to(spread, (len(X), *spread.shape)).transpose(2, 0, 1)

        def of_draw(number: int) -> TargetNoise:
            normal, uniform, choice = columns[3 * number : 3 * number + 3]
            return TargetNoise(ndtri(normal), uniform, choice)

        return self._drawn(X, [_with_others(of_draw, j, k) for j in range(k)])

    def _summaries(
        self,
        X: Any,
        of_distributions: Callable[[TargetDistributions], np.ndarray],
        of_draws: Callable[[np.ndarray, TargetModel], np.ndarray],
        n_values: int,
    ) -> np.ndarray:
        """Values (n_samples, n_values) or (n_samples, n_values, n_outputs) of every sample.

        Those of the first output follow from its distribution, those of others from draws (n_samples, n_draws) and
        their model.
        """
        X, k = self._checked(X), self.n_outputs_

        def summaries(block: np.ndarray, _: slice) -> np.ndarray:
            first = of_distributions(self.models_[0].given(block))
            if k == 1:
                return first[:, :, None]
            draws = self._marginal_draws(block)
            return np.stack([first, *(of_draws(draws[:, :, j], self.models_[j]) for j in range(1, k))], axis=2)

        out = self._by_parts(summaries, X, (n_values, k))
        return out[:, :, 0] if k == 1 else out

    def predict(self, X: Any) -> np.ndarray:
        """Mean of y given X.

        A value more than the range of the y of the fit beyond this range counts as if it lay there: densities of
        logarithms with heavy tails have no mean else.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of outputs after the first by 256 evenly spread draws.
        """

        def of_draws(draws: np.ndarray, model: TargetModel) -> np.ndarray:
            return np.clip(draws, *model.reach).mean(1, keepdims=True)

        return self._summaries(X, lambda d: d.mean()[:, None], of_draws, 1)[:, 0]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Coefficient of determination R^2 of the means; `skdiffusion.metrics` scores the whole distributions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
            1 for exact means, 0 for the mean of y everywhere.
        """
        return super().score(X, y, sample_weight)

    def predict_quantiles(self, X: Any, quantiles: Any) -> np.ndarray:
        """Quantiles of y given X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        quantiles : float or array-like of shape (n_quantiles,)
            Probabilities in (0, 1).

        Returns
        -------
        ndarray of shape (n_samples, n_quantiles) or (n_samples, n_quantiles, n_outputs)
            Each output by itself; of outputs after the first by 256 evenly spread draws.
        """
        levels = check_probabilities(quantiles, "quantiles")

        def exact(distributions: TargetDistributions) -> np.ndarray:
            return distributions.quantiles(np.repeat(levels[None], len(distributions), axis=0))

        return self._summaries(X, exact, lambda draws, _: np.quantile(draws, levels, axis=1).T, len(levels))

    def predict_interval(self, X: Any, coverage: float = 0.9, kind: str = "central") -> np.ndarray:
        """Intervals that hold y with a given probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        coverage : float, default=0.9
            Probability in (0, 1).
        kind : {"central", "highest_density"}, default="central"
            "central" leaves out the same probability on both sides. "highest_density" is the shortest interval, which
            is where the density is highest if it has one mode.

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, 2, n_outputs)
            Lower and upper ends; of outputs after the first by 256 evenly spread draws.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1, or `kind` is unknown.
        """
        (coverage,) = check_probabilities(coverage, "coverage")
        if kind == "central":
            return self.predict_quantiles(X, [(1 - coverage) / 2, (1 + coverage) / 2])
        if kind != "highest_density":
            raise ValueError(f"The 'kind' argument must be 'central' or 'highest_density'. Got {kind!r} instead.")
        starts = np.append((np.arange(N_STARTS) + 0.5) / N_STARTS, 0.5) * (1 - coverage)
        levels = np.concatenate([starts, starts + coverage])

        def shortest(quantiles: np.ndarray) -> np.ndarray:
            low, high = np.split(quantiles, 2, axis=1)
            best = np.argmin(high - low, axis=1)[:, None]
            return np.concatenate([np.take_along_axis(ends, best, axis=1) for ends in (low, high)], axis=1)

        def exact(distributions: TargetDistributions) -> np.ndarray:
            return shortest(distributions.quantiles(np.repeat(levels[None], len(distributions), axis=0)))

        return self._summaries(X, exact, lambda draws, _: shortest(np.quantile(draws, levels, axis=1).T), 2)

    def log_prob(self, X: Any, y: Any) -> np.ndarray:
        """Log-density of y given X, in nats, in the units of y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)

        Returns
        -------
        ndarray of shape (n_samples,)
            Of all outputs together; of an atom the logarithm of its probability; -inf outside `bounds`.
        """
        X = self._checked(X)
        Y, d = self._checked_targets(y, X), X.shape[1]

        def log_prob(block: np.ndarray, _: slice) -> np.ndarray:
            parts = [
                model.given(block[:, : d + j]).log_prob(block[:, d + j].copy()) for j, model in enumerate(self.models_)
            ]
            return np.sum(parts, axis=0)

        return self._by_parts(log_prob, np.column_stack([X, Y]), ())

    def cdf(self, X: Any, y: Any) -> np.ndarray:
        """Distribution function of y given X, of a single output: the probability of values up to y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)

        Returns
        -------
        ndarray of shape (n_samples,)
            Uniform on (0, 1) for new samples of a calibrated fit without atoms.

        Raises
        ------
        ValueError
            If the fit has several outputs: fit one alone.
        """
        X = self._checked(X)
        Y, d = self._checked_targets(y, X), X.shape[1]
        if self.n_outputs_ > 1:
            raise ValueError(f"The distribution function is of one output, but y has {self.n_outputs_}: fit one alone.")

        def cdf(block: np.ndarray, _: slice) -> np.ndarray:
            return self.models_[0].given(block[:, :d]).cdf(block[:, d:])[:, 0]

        return self._by_parts(cdf, np.column_stack([X, Y]), ())

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw y given X.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features)
        n_samples : int, default=1
            Draws for each sample of X.
        random_state : int, RandomState or None, default=None
            None derives the seed from the estimator's own `random_state` (repeatable), or draws it from NumPy's
            global generator where that is None too. Fewer draws are a prefix of more.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples) or (n_samples_X, n_samples, n_outputs)
        """
        X = self._checked(X)
        check_count(n_samples)
        k, seeds = self.n_outputs_, np.random.SeedSequence(draw_seed(self, random_state)).spawn(9 * self.n_outputs_)
        streams = [np.random.default_rng(seed) for seed in seeds]
        shape = n_samples, len(X)

        def of_draw(number: int) -> TargetNoise:
            normal, uniform, choice = streams[3 * number : 3 * number + 3]
            return TargetNoise(normal.standard_normal(shape).T, uniform.random(shape).T, choice.random(shape).T)

        noise = [
            of_draw(j) if model.blend.sharpening is None else _with_others(of_draw, j, k)
            for j, model in enumerate(self.models_)
        ]

        def drawn(block: np.ndarray, part: slice) -> np.ndarray:
            return self._drawn(block, [one.apply(lambda numbers: whole_vectors(numbers[part])) for one in noise])

        out = self._by_parts(drawn, X, (n_samples, k))
        return out[:, :, 0] if k == 1 else out


def _with_others(of_draw: Callable[[int], TargetNoise], j: int, n_outputs: int) -> TargetNoise:
    """The numbers of a draw of output j, with those of two more draws, all by the number of the draw."""
    first, second = n_outputs + 2 * j, n_outputs + 2 * j + 1
    return of_draw(j)._replace(others=(of_draw(first), of_draw(second)))
