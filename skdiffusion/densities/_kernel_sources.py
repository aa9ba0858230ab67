"""The incomplete samples of a fit that kernels stand for, so that none is completed by its own draws.

A fit completes an incomplete sample by several draws, and a kernel density has kernels at them. Asked about that
sample, these kernels know all of its given values: they would take the whole conditional distribution over and return
their own draws, in intervals far too narrow. A sample of the fit is therefore completed by kernels of the others, as
out-of-fold log-densities are those of densities that have not seen the sample.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from skdiffusion.densities._blend import Blend
from skdiffusion.densities._kernel import GaussianKernelDensity
from skdiffusion.densities._transformed import TransformedDensity

N_PARTS = 10  # of the samples of a fit, of which the kernels are left out together
NEW = -1  # part of a sample that no kernel stands for


@dataclass(frozen=True)
class KernelSources:
    """Codes of the samples that the kernels of a fit stand for.

    Parameters
    ----------
    codes : int array of shape (n_kernels,)
        That of the sample which each kernel completes.
    """

    codes: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray, source: np.ndarray) -> KernelSources:
        """Those of samples X (n_samples, n_features), with NaN where unknown, for kernels at completed ones.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        source : int array of shape (n_kernels,)
            The sample that each kernel completes, by its number.
        """
        return cls(codes_of(X)[source])

    def parts_of(self, X: np.ndarray) -> np.ndarray:
        """The part that each sample belongs to, `NEW` where it is not one of the fit, shape (n_samples,)."""
        codes = codes_of(X)
        return np.where(np.isin(codes, self.codes), codes % N_PARTS, NEW)

    def without(self, blend: Blend, part: int) -> Blend:
        """The blend whose kernel densities lack the kernels of a part, if there are others; itself for `NEW`."""
        kept = self.codes % N_PARTS != part
        if kept.all() or not kept.any():
            return blend
        for name, density in blend.densities.items():
            if isinstance(density, TransformedDensity) and isinstance(density.density, GaussianKernelDensity):
                blend = blend.replaced(name, replace(density, density=density.density.take(kept)))
        return blend


def codes_of(X: np.ndarray) -> np.ndarray:
    """Numbers that follow from the values of samples and the places of NaN, non-negative, shape (n_samples,)."""
    canonical = np.where(np.isnan(X), np.nan, X.astype(np.float64) + 0.0)  # one NaN, one zero
    digests = [hashlib.blake2b(x.tobytes(), digest_size=8).digest() for x in canonical]
    return (np.frombuffer(b"".join(digests), dtype="<u8") >> np.uint64(1)).astype(np.int64)
