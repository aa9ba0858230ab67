"""What an estimator made of a blend of distributions can do once it is fitted: densities, gradients and samples."""

from dataclasses import replace

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_is_fitted, validate_data

import skdiffusion
from skdiffusion._utils.frames import to_frame, wants_frame
from skdiffusion._utils.persistence import save
from skdiffusion._utils.protocols import SampleNoise
from skdiffusion._utils.threads import one_thread
from skdiffusion._utils.validation import check_count, check_weights, generator_seed
from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities import blend_log_density
from skdiffusion.exceptions import InconsistentVersionWarning

CHUNK_SAMPLES = 8192
DATA_TYPES = [np.float64, np.float32]


class SavableEstimator(BaseEstimator):
    """Files, and the version with which an estimator was pickled.

    A subclass lists in `_saved` the attributes that its `fit` sets, and has a line in `_utils.saved_classes`.
    """

    def __getstate__(self):
        return {**super().__getstate__(), "_skdiffusion_version": skdiffusion.__version__}

    def __setstate__(self, state):
        written = state.get("_skdiffusion_version")
        if written != skdiffusion.__version__:
            warn_user(
                f"This {type(self).__name__} was saved by skdiffusion {written} and is read by "
                f"{skdiffusion.__version__}: fit it again if its results differ.",
                InconsistentVersionWarning,
            )
        super().__setstate__({k: v for k, v in state.items() if k != "_skdiffusion_version"})

    def save(self, path):
        """Write the fitted estimator to a file that `skdiffusion.load` reads without running code.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        TypeError
            If a part of the estimator is not skdiffusion's own: use joblib, whose files run code.
        """
        save(self, path)


class MeanLogDensity(DensityMixin, SavableEstimator):
    """`score` of every density estimator here: the mean of `score_samples`."""

    def score(self, X, y=None, sample_weight=None):
        """Mean log-density of the samples, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
        """
        log_density = self.score_samples(X)
        if sample_weight is None:
            return float(log_density.mean())
        w = check_weights(sample_weight, log_density[:, None])
        return float(np.average(log_density[w > 0], weights=w[w > 0]))


class BlendedDensityEstimator(MeanLogDensity):
    """Base of the density estimators that blend distributions, of which the first has a latent map.

    A subclass sets in `fit`: `members_` (name -> placed distribution), `stacking_weights_` (name -> weight), `preprocessor_`
    and `_sample_seed`, and has the parameter `random_state`.
    """

    @property
    def _first_member(self):
        return next(iter(self.members_.values()))

    def _by_chunk(self, function, X, columns=()):
        """Apply `function` to chunks of samples within the bounds; -inf for scalars elsewhere."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=DATA_TYPES, reset=False)
        out = np.full((len(X), *columns), np.nan if columns else -np.inf)
        with one_thread(), np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(X), CHUNK_SAMPLES):
                block = X[start : start + CHUNK_SAMPLES].astype(np.float64)
                inside = self.preprocessor_.inside(block)
                if inside.any():
                    out[start : start + CHUNK_SAMPLES][inside] = self._finite(function(block[inside]), "X")
        return out

    @staticmethod
    def _finite(values, name):
        """The values; ValueError if the arithmetic overflowed."""
        if np.isnan(values).any():
            raise ValueError(
                f"Samples of {name} lie so far from the training samples that the arithmetic overflows: drop or clip them."
            )
        return values

    def _member_log_densities(self, X):
        """Shape (n, members), -inf for those without weight, which are not asked."""
        out = np.full((len(X), len(self.members_)), -np.inf)
        for i, (name, member) in enumerate(self.members_.items()):
            if self.stacking_weights_[name] > 0:
                out[:, i] = member.log_prob(X)
        return out

    def score_samples(self, X):
        """Log-density of every sample, in nats, in the units of the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            -inf for samples outside `bounds`. A sample's value does not depend on the other samples.
        """
        check_is_fitted(self)
        weights = np.array(list(self.stacking_weights_.values()))
        return self._by_chunk(lambda block: blend_log_density(self._member_log_densities(block), weights), X)

    def score_function(self, X):
        """Gradient of the log-density that `score_samples` reports.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN is returned for samples outside `bounds`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        weights = np.array(list(self.stacking_weights_.values()))

        def gradient(block):
            L = self._member_log_densities(block)
            share = weights * np.exp(L - blend_log_density(L, weights)[:, None])
            members = enumerate(self.members_.values())
            return sum(share[:, [i]] * m.score(block) for i, m in members if weights[i] > 0)

        return self._by_chunk(gradient, X, (self.n_features_in_,))

    def to_latent(self, X):
        """Codes of samples under the first of `members_`: standard normal if the model is right.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples within `bounds`; others get NaN.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        member = self._first_member

        def encode(block):
            return member.density.to_latent(member.preprocessor.transform(block)[0])

        return self._by_chunk(encode, X, (self.n_features_in_,))

    def from_latent(self, codes):
        """Samples of codes: the inverse of `to_latent`, up to the solver's error.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        codes = validate_data(self, codes, dtype=DATA_TYPES, reset=False)
        member = self._first_member
        with one_thread(), np.errstate(over="ignore", invalid="ignore"):
            samples = member.preprocessor.inverse_transform(member.density.from_latent(codes.astype(np.float64)))
        return self._finite(samples, "'codes'")

    def sample(self, n_samples=1, random_state=None, *, as_frame="auto"):
        """Draw samples from the fitted density.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None
            None derives the seed from the estimator's own `random_state` (repeatable), or takes fresh
            entropy where that is None too. A draw of fewer samples is a prefix of a draw of more.
        as_frame : "auto" or bool, default="auto"
            Whether to return a frame of the library, feature names and dtypes seen in `fit`; "auto" does where `fit`
            saw a pandas or polars frame. Integer features are rounded.

        Returns
        -------
        ndarray or frame of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        wanted = wants_frame(self, as_frame)
        check_count(n_samples)
        if random_state is not None:
            seed = generator_seed(random_state)
        elif self.random_state is not None:
            seed = self._sample_seed
        else:
            seed = None
        streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)]
        weights = np.array(list(self.stacking_weights_.values()))
        degrees = next((m.degrees for m in self.members_.values() if m.degrees is not None), None)
        out = np.empty((n_samples, self.n_features_in_))
        with one_thread():
            for start in range(0, n_samples, CHUNK_SAMPLES):
                samples = min(CHUNK_SAMPLES, n_samples - start)
                noise = streams[0].standard_normal((samples, self.n_features_in_))
                choice = np.searchsorted(np.cumsum(weights), streams[1].random(samples), side="right")
                uniforms = streams[2].random(samples)
                chi2 = None if degrees is None else streams[3].chisquare(degrees, samples)
                numbers = SampleNoise(noise, uniforms, chi2)
                block = out[start : start + samples]
                for i, member in enumerate(self.members_.values()):
                    mine = np.minimum(choice, len(weights) - 1) == i
                    if mine.any():
                        block[mine] = member.sample(numbers.take(mine))
        return to_frame(out, self) if wanted else out


class FlowDensityEstimator(BlendedDensityEstimator):
    """Base of the estimators whose first member is solved numerically, with errors that can be told."""

    def log_density_error(self, X):
        """Estimated numerical error of `score_samples` per sample, in nats, by doubling the solver's steps.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Non-negative; 0 for samples outside `bounds`, whose density is known to be zero.
        """
        check_is_fitted(self)
        member = self.members_["diffusion"]
        weights = np.array(list(self.stacking_weights_.values()))

        def error(block):
            if weights[0] == 0:
                return np.zeros(len(block))
            L = self._member_log_densities(block)
            flow = replace(member.density, density_steps=2 * member.density.density_steps)
            finer = L.copy()
            finer[:, 0] = replace(member, density=flow).log_prob(block)
            coarse, fine = blend_log_density(L, weights), blend_log_density(finer, weights)
            with np.errstate(invalid="ignore"):
                return np.where(coarse == fine, 0.0, np.abs(coarse - fine))  # both may be minus infinity

        out = self._by_chunk(error, X)
        return np.where(np.isneginf(out), 0.0, out)

    def sample_error(self, n_samples=500, random_state=None):
        """Estimated numerical error of `sample` in the Wasserstein-2 distance: that of the solver, not of the fit.

        The distance between the distribution that the solver draws and that of the exact flow of the same networks, each
        feature in its training standard deviations; the components of the blend draw without error.

        Parameters
        ----------
        n_samples : int, default=500
            Samples drawn for the estimate.
        random_state : int, RandomState or None, default=None

        Returns
        -------
        float
            The root mean square distance of the samples of both, from the same noise: an upper bound of W2, within
            15 % of that distance where the steps are 16 or more (measured in `benchmarks.theory`).
        """
        check_is_fitted(self)
        check_count(n_samples, least=1)
        noise = np.random.default_rng(generator_seed(random_state)).standard_normal((n_samples, self.n_features_in_))
        member, scale = self.members_["diffusion"], np.where(self.feature_scale_ > 0, self.feature_scale_, 1.0)
        with one_thread():
            error = member.density.sample_error(noise, lambda z: member.preprocessor.inverse_transform(z) / scale)
        return float(np.sqrt(self.stacking_weights_["diffusion"]) * error)
