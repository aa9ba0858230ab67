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
        # A sample so far out that a map or the flow overflows has no density here; the Student-t covers it.
        return np.where(np.isnan(log_prob), -np.inf, log_prob)

    def score(self, X: np.ndarray) -> np.ndarray:
        """Gradient of the log-density, shape (n_samples, n_features)."""
        if not self.preprocessor.regions:
            return self._mapped_score(X)
        nodes = BoundaryNodes.of(self.preprocessor.regions, X)
        return nodes.score(in_blocks(self._mapped_log_prob, nodes.X), self._mapped_score(nodes.X))

    def _mapped_score(self, X: np.ndarray) -> np.ndarray:
        """Gradient of the log-density without regard to the regions near bounds."""
        z, _ = self.preprocessor.transform(X)
        return self.preprocessor.pull_back(X, self.density.score(z))

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
