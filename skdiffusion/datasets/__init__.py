"""Distributions with known densities and supports, for tests, examples and benchmarks."""

from skdiffusion.datasets._besov import BesovDensity
from skdiffusion.datasets._manifolds import Sphere, SwissRoll, Torus
from skdiffusion.datasets._subspace import Subspace

__all__ = ["BesovDensity", "Sphere", "Subspace", "SwissRoll", "Torus"]
