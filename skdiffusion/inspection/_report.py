"""A verdict on a fitted density, from samples that the fit has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import multivariate_normal

from skdiffusion._utils.validation import RandomState
from skdiffusion.compose import draw_samples, log_density_of
from skdiffusion.inspection._axes import named_samples
from skdiffusion.metrics import classifier_two_sample_test

MIN_SAMPLES = 20  # below, no standard error can be trusted
N_ERRORS = 3.0  # standard errors beyond which the verdict names a fault


@dataclass(frozen=True)
class Estimate:
    """A mean over samples and its standard error.

    Parameters
    ----------
    value, standard_error : float

    Examples
    --------
    >>> from skdiffusion.inspection import Estimate
    >>> lead = Estimate(value=0.4, standard_error=0.1)
    >>> print(lead, lead.exceeds(0.0), lead.exceeds(0.2))
    0.40 (standard error 0.10) True False
    """

    value: float
    standard_error: float

    @classmethod
    def of(cls, values: np.ndarray) -> Estimate:
        """The mean of values, one for each sample."""
        return cls(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference of two independent means."""
        return Estimate(self.value - other.value, float(np.hypot(self.standard_error, other.standard_error)))

    def __str__(self) -> str:
        return f"{self.value:.2f} (standard error {self.standard_error:.2f})"

    def exceeds(self, bound: float) -> bool:
        """Whether it lies above a bound by more than chance explains: by three standard errors.

        Parameters
        ----------
        bound : float

        Returns
        -------
        bool
        """
        return self.value - bound > N_ERRORS * self.standard_error


@dataclass(frozen=True)
class FitReport:
    """What samples left out of a fit say of a density. Build it with `from_estimator`, and print it.

    Parameters
    ----------
    n_samples : int
        Samples left out of the fit.
    log_density : Estimate
        Their mean log-density, in nats.
    gain : Estimate
        By how much it is above that of a Gaussian with the mean and covariance of generated samples, sample by sample.
    overconfidence : Estimate
        By how much the mean log-density of generated samples is above it. A calibrated density has 0; a density with
        more takes itself for sharper than it is.
    half_mass : Estimate
        The share of the samples within the region that should hold half of the mass.
    detection : Estimate
        Accuracy of boosted trees that distinguish generated samples from these; chance is 0.5.
    losses : dict of str to float
        Nats that the samples lose if a component of the blend is left out, its weight shared among the others in
        proportion; inf for a component alone. Empty for estimators without components.

    Attributes
    ----------
    verdict : list of str

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator
    >>> from skdiffusion.inspection import FitReport
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> est = DiffusionDensityEstimator(max_iter=2, random_state=0).fit(X[:200])
    >>> report = FitReport.from_estimator(est, X[200:])
    >>> report.n_samples
    100
    """

    n_samples: int
    log_density: Estimate
    gain: Estimate
    overconfidence: Estimate
    half_mass: Estimate
    detection: Estimate
    losses: dict[str, float]

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, n_generated: int = 5000, random_state: RandomState = 0
    ) -> FitReport:
        """Compare samples left out of a fit with generated ones.

        Parameters
        ----------
        estimator : fitted density estimator
            With `score_samples` and `sample`, as those of this package and of scikit-learn have.
        X : array-like of shape (n_samples, n_features)
            At least 20 samples that the fit has not seen. Every feature is a finite number.
        n_generated : int, default=5000
            Samples drawn from the density; at least as many as there are features, and one more.
        random_state : int, RandomState or None, default=0
            Seed of the draws and of the classifier.

        Returns
        -------
        FitReport

        Raises
        ------
        ValueError
            If X has fewer than 20 samples, or one of density zero.
        """
        left_out, _ = named_samples(estimator, X)
        if len(left_out) < MIN_SAMPLES:
            raise ValueError(
                f"Found {len(left_out)} samples in X, while a verdict needs at least {MIN_SAMPLES}. Leave out more of "
                "the table, or average the score over cross-validation."
            )
        log_p = np.asarray(estimator.score_samples(X), dtype=np.float64)
        if np.isneginf(log_p).any():
            raise ValueError(
                f"{np.isneginf(log_p).sum()} samples of X have density zero. Samples outside 'bounds' have: fit with "
                "bounds that hold for all samples."
            )
        drawn = draw_samples(estimator, n_generated, random_state)
        generated = named_samples(estimator, drawn)[0]
        own = log_density_of(estimator, drawn)
        gaussian = multivariate_normal(generated.mean(0), np.cov(generated, rowvar=False), allow_singular=True)
        accuracy: Any = classifier_two_sample_test(generated, left_out, random_state=random_state, return_error=True)
        return cls(
            len(left_out),
            Estimate.of(log_p),
            Estimate.of(log_p - gaussian.logpdf(left_out)),
            Estimate.of(own) - Estimate.of(log_p),
            Estimate.of((log_p >= np.median(own)).astype(float)),
            Estimate(*accuracy),
            _losses(estimator, left_out, log_p),
        )

    @property
    def verdict(self) -> list[str]:
        """The conclusions, a sentence each."""
        sentences = []
        if self.gain.exceeds(0.0):
            sentences.append("The density says more than a Gaussian.")
        else:
            sentences.append("The density says no more than a Gaussian: these samples may have nothing else to learn.")
        if self.overconfidence.exceeds(0.0):
            sentences.append("It is over-confident: it expects of its own samples what yours do not have.")
        elif Estimate(-self.overconfidence.value, self.overconfidence.standard_error).exceeds(0.0):
            sentences.append("It is too wide: your samples lie where it is denser than at its own.")
        else:
            sentences.append("It is calibrated as far as so many samples can tell.")
        if self.detection.exceeds(0.5):
            sentences.append("A classifier distinguishes generated samples from yours.")
        else:
            sentences.append("A classifier does not distinguish generated samples from yours.")
        return sentences

    def __str__(self) -> str:
        lines = [
            f"{self.n_samples} samples left out of the fit",
            f"  mean log-density            {self.log_density} nats",
            f"  above a Gaussian by         {self.gain} nats",
            f"  over-confident by           {self.overconfidence} nats",
            f"  in the half-mass region     {self.half_mass}, should be 0.50",
            f"  told from generated samples {self.detection}, chance is 0.50",
        ]
        lines += [
            f"  without {name + ':':<19} {-loss:+.3f} nats"
            for name, loss in sorted(self.losses.items(), key=lambda item: -item[1])
        ]
        return "\n".join([*lines, *self.verdict])


def _losses(estimator: Any, X: np.ndarray, log_p: np.ndarray) -> dict[str, float]:
    """Nats lost without each component that has weight."""
    blend = getattr(estimator, "blend_", None)
    if blend is None:
        return {}
    used = [name for name, weight in blend.weights.items() if weight > 0]
    values = blend.component_log_prob(X)
    losses = {}
    for name in used:
        others = [other for other in used if other != name]
        if not others:
            return {name: np.inf}
        rest, _ = blend.restricted(others)
        kept = [k for k, other in enumerate(blend.weights) if other in others]
        losses[name] = float((log_p - rest.combined(values[:, kept])).mean())
    return losses
