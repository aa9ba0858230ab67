"""A surface whose curvature jumps."""

import numpy as np

from skdiffusion._utils.validation import StrOptions, validated
from skdiffusion.datasets._embedded import COUNT, EMBEDDING, Embedded
from skdiffusion.datasets._manifolds import accepted, directions, keep_kinked, log_kink


class Capsule(Embedded):
    """The surface at distance 1/2 of a segment of length 1: its curvature jumps where the tube meets its caps.

    It is the graph of functions with Lipschitz derivatives, of smoothness 2, and no smoother. Tube and caps have the
    same area, pi.

    Parameters
    ----------
    n_features : int, default=3
        Features, at least 3.
    density : {"uniform", "kinked"}, default="uniform"
    noise : float, default=0
        Standard deviation of isotropic noise.
    rotation_seed : int, default=0

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.datasets import Capsule
    >>> capsule = Capsule()
    >>> bool(np.allclose(capsule.distance(capsule.sample(5, random_state=0)), 0.0))
    True
    >>> capsule.project([[2.0, 2.0, 2.0]]).shape, capsule.log_prob(capsule.sample(5, random_state=0)).shape
    ((1, 3), (5,))
    """

    dimension = 2
    radius, half_length = 0.5, 0.5

    @validated(**EMBEDDING | {"n_features": COUNT}, density=[StrOptions({"uniform", "kinked"})])
    def __init__(
        self, n_features: int = 3, density: str = "uniform", *, noise: float = 0.0, rotation_seed: int = 0
    ) -> None:
        super().__init__(3, n_features, density, noise, rotation_seed)

    def _uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        toward = directions(rng.standard_normal((n, 3)), np.eye(3)[0])
        around = directions(toward * [1, 1, 0], np.eye(3)[0])
        on_tube, along = rng.random((n, 1)) < 0.5, np.zeros((n, 3))
        along[:, 2] = np.where(
            on_tube[:, 0], rng.uniform(-self.half_length, self.half_length, n), self.half_length * np.sign(toward[:, 2])
        )
        return along + self.radius * np.where(on_tube, around, toward)

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        if self.density == "kinked":
            return accepted(n, lambda m: self._uniform(m, rng), lambda u: keep_kinked(u[:, 0] / self.radius, rng))
        return self._uniform(n, rng)

    def _nearest(self, Y: np.ndarray) -> np.ndarray:
        axis = np.zeros_like(Y)
        axis[:, 2] = np.clip(Y[:, 2], -self.half_length, self.half_length)
        return axis + self.radius * directions(Y - axis, np.eye(3)[0])

    def _log_density(self, Y: np.ndarray) -> np.ndarray:
        # The mean of |cos| over the circle and over the sphere, each on half of the area.
        mean = (2 / np.pi + 0.5) / 2
        kink = log_kink(self._nearest(Y)[:, 0] / self.radius, mean) if self.density == "kinked" else np.zeros(len(Y))
        return kink - np.log(2 * np.pi)
