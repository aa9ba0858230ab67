"""The density behind a preprocessor: any density of whitened samples, in the units of the features."""

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.blocks import in_blocks
from skdiffusion._utils.protocols import Density, LatentDensity, SampleNoise
from skdiffusion.densities._boundary import BoundaryNodes, redrawn
from skdiffusion.preprocessing import Preprocessor


@dataclass(frozen=True)
class TransformedDensity(LatentDensity):
    """A density of whitened samples behind a preprocessor, with the shapes of its regions near bounds."""

    preprocessor: Preprocessor
    density: Density  # of the whitened samples

    @property
    def degrees(self) -> float | None:  # type: ignore[override]
        """Degrees of freedom of the chi-square numbers that samples take."""
        return self.density.degrees

    @property
    def narrowest(self) -> float:  # type: ignore[override]
        """Smallest standard deviation of a part that carries data, in whitened units."""
        return self.density.narrowest

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples X within the bounds, in nats, shape (n_samples,)."""
        if not self.preprocessor.regions:
            return self._mapped_log_prob(X)
        nodes = BoundaryNodes.of(self.preprocessor.regions, X)
        return nodes.log_prob(in_blocks(self._mapped_log_prob, nodes.X))

    def _mapped_log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples without regard to the regions near bounds."""
        with np.errstate(over="ignore", invalid="ignore"):
            z, log_det = self.preprocessor.transform(X)
            log_prob = self.density.log_prob(z) + log_det
        return self._covered(log_prob)

    @staticmethod
    def _covered(log_prob: np.ndarray) -> np.ndarray:
        """Zero density where a sample is so far out that a map or the flow overflows: the Student-t covers it."""
        return np.where(np.isnan(log_prob), -np.inf, log_prob)

    def score(self, X: np.ndarray) -> np.ndarray:
        """Gradient of the log-density, shape (n_samples, n_features)."""
        return self.log_prob_and_score(X)[1]

    def log_prob_and_score(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both at once."""
        if not self.preprocessor.regions:
            return self._mapped_log_prob_and_score(X)
        nodes = BoundaryNodes.of(self.preprocessor.regions, X)
        log_prob, score = self._mapped_log_prob_and_score(nodes.X)
        return nodes.log_prob(log_prob), nodes.score(log_prob, score)

    def _mapped_log_prob_and_score(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-density and its gradient without regard to the regions near bounds."""
        with np.errstate(over="ignore", invalid="ignore"):
            z, log_det = self.preprocessor.transform(X)
            log_prob, score = self.density.log_prob_and_score(z)
            return self._covered(log_prob + log_det), self.preprocessor.pull_back(X, score)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers, shape (n_samples, n_features)."""
        X, regions = self.preprocessor.inverse_transform(self.density.sample(noise)), self.preprocessor.regions
        if not regions:
            return X
        assert noise.boundary is not None, "The samples near bounds take uniform random numbers."
        return redrawn(regions, X, noise.boundary)

    def to_latent(self, X: np.ndarray) -> np.ndarray:
        """Codes of samples, where the density has a latent map."""
        assert isinstance(self.density, LatentDensity)
        return self.density.to_latent(self.preprocessor.transform(X)[0])

    def from_latent(self, codes: np.ndarray) -> np.ndarray:
        """Samples of codes, the inverse of `to_latent`."""
        assert isinstance(self.density, LatentDensity)
        return self.preprocessor.inverse_transform(self.density.from_latent(codes))
