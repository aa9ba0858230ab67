"""Block sizes in which single precision gives a sample the same bits, whatever the other samples are.

The density of a sample must not depend on the other samples of a call. In double precision the rounding of a matrix
product depends on the batch only at 1e-15; in single precision that would be 1e-7 and show. So samples travel in padded
blocks of a few sizes, and single precision is used only with sizes in all of which a sample has the same bits, wherever
it stands in its block.

Whether it has depends on the machine, and `sizes_of_same_bits` finds out by trying. The order of the operations is
decided by the shapes of the matrices, by their places in memory and by the number of threads, not by the weights; only
within a vectorized elementary function may the numbers decide, between its branches. So an architecture is tried once,
with random weights whose preactivations reach from the linear range of the activations to their tails. The weights of
an untrained network would be no safer: its last layer is zero, which hides the rounding of all layers before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skdiffusion._utils.protocols import VelocityField
from skdiffusion.diffusion.networks._film import FilmEnsemble

# By device, of which the first choice that keeps the bits of a sample is taken. The last size of a choice fits the
# cache of a core, or fills a GPU; the others are for the samples that are left over.
BLOCK_SIZES: dict[str, list[tuple[int, ...]]] = {
    "cpu": [(4, 16, 64, 256), (4, 16, 64)],
    "cuda": [(512, 8192)],
}
OTHER_BLOCK_SIZES: list[tuple[int, ...]] = [(1024,)]
ANGLES = (0.02, 0.7, 1.5)
WEIGHT_SCALE = 2.0  # of the weights of a trial, whose preactivations then spread over about ten units


def sizes_of_same_bits(field: VelocityField, z: torch.Tensor, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The block sizes, of rising ones, in which samples z (sizes[-1], d) have the bits that they have in the largest.

    None at all if these depend on the place of a sample in the largest.
    """
    order = torch.as_tensor(np.random.default_rng(0).permutation(len(z)), device=z.device)
    alone = torch.zeros_like(z)
    alone[0] = z[7]
    # A block, its samples' places in z, and which of its own places these are: the first samples of z, one sample among
    # zeros, and all samples in another order.
    trials: list[tuple[torch.Tensor, Any, slice]] = [(z[:size], slice(size), slice(size)) for size in sizes]
    trials += [(alone[:size], slice(7, 8), slice(1)) for size in sizes]
    trials.append((z[order], order, slice(None)))
    good = set(sizes)
    for theta in ANGLES:
        for divergence in (False, True):
            expected = field(z, theta, divergence)
            for block, places, own_places in trials:
                found = field(block, theta, divergence)
                pairs = [(e, f) for e, f in zip(expected, found) if e is not None]
                if not all(torch.equal(e[places], f[own_places]) for e, f in pairs):
                    good.discard(len(block))
    return tuple(size for size in sizes if size in good) if sizes[-1] in good else ()


class OnTensors(VelocityField):
    """A field of arrays, for a trial with tensors; what it pulls back stands beside its velocity."""

    def __init__(self, field: VelocityField):
        self.field = field

    def __call__(self, z: torch.Tensor, theta: float, divergence: bool = False) -> tuple[torch.Tensor, Any]:
        velocity, trace = self.field(z.numpy(), theta, divergence)
        if trace is not None:
            velocity = np.concatenate([velocity, self.field.pull_back(z.numpy(), theta, velocity, trace)], axis=1)
        return torch.from_numpy(velocity), None if trace is None else torch.from_numpy(trace)


def trial_weights(network: FilmEnsemble) -> torch.Tensor:
    """Random parameters in single precision for a trial of an architecture, shape (n_members, n_parameters)."""
    rng, flat = np.random.default_rng(0), torch.zeros_like(network.flat, dtype=torch.float32)
    for parameters in (p for layer in network.views(flat) for p in layer):
        draws = rng.standard_normal(tuple(parameters.shape)) * (WEIGHT_SCALE / np.sqrt(parameters.shape[1]))
        parameters.copy_(torch.as_tensor(draws))
    return flat


def trial_correlation(d: int) -> np.ndarray:
    """A random correlation matrix (d, d) for a trial of a Gaussian reference."""
    rng = np.random.default_rng(0)
    return np.atleast_2d(np.corrcoef(rng.standard_normal((d, 2 * d)) + rng.standard_normal(2 * d)))
