"""Distributions with known densities and supports, for tests, examples and benchmarks."""

from skdiffusion.datasets._besov import BesovDensity
from skdiffusion.datasets._capsule import Capsule
from skdiffusion.datasets._manifolds import Sphere, Subspace, SwissRoll, Torus

__all__ = ["BesovDensity", "Capsule", "Sphere", "Subspace", "SwissRoll", "Torus"]
