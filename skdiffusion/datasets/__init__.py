"""Laws with known answers: manifolds and subspaces with exact distance and intrinsic density."""

from skdiffusion.datasets._manifolds import Sphere, Subspace, SwissRoll, Torus

__all__ = ["Sphere", "Subspace", "SwissRoll", "Torus"]
