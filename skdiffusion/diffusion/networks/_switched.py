"""Networks that share the noise levels among them: one ensemble for each interval, switched at the edges.

References
----------
Oko, Akiyama and Suzuki (2023): networks that get smaller as the noise grows are what the rate in W1 takes.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import torch
from torch import Tensor

from skdiffusion._utils.protocols import VelocityField
from skdiffusion.diffusion.networks._film import FilmEnsemble, FilmEvaluator


class SwitchedNetworks:
    """Ensembles with as many members each, one for each interval of noise levels.

    Parameters
    ----------
    parts : list of FilmEnsemble
        From the data to the noise.
    edges : tuple of float
        Rising angles between them, one fewer than `parts`.
    """

    _saved = ("parts", "edges")

    def __init__(self, parts: Sequence[FilmEnsemble], edges: Sequence[float]):
        self.parts, self.edges = list(parts), tuple(float(e) for e in edges)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.parts[0].n_features

    @property
    def hidden_layer_sizes(self) -> list[tuple[int, ...]]:
        """Widths of the hidden layers, interval by interval."""
        return [part.hidden_layer_sizes for part in self.parts]

    @property
    def activation(self) -> str:
        """Activation of the hidden layers."""
        return self.parts[0].activation

    @property
    def n_members(self) -> int:
        """Members of each ensemble."""
        return self.parts[0].n_members

    @property
    def n_parameters(self) -> int:
        """Parameters of a member, over all intervals."""
        return sum(part.n_parameters for part in self.parts)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters and of the arithmetic."""
        return self.parts[0].dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.parts[0].device

    def at(self, theta: float) -> FilmEnsemble:
        """The ensemble of the interval of an angle; an edge belongs to the interval above it."""
        return self.parts[bisect.bisect_right(self.edges, theta)]

    def member(self, m: int) -> SwitchedNetworks:
        """The networks of member m alone, over the same memory."""
        return SwitchedNetworks([part.member(m) for part in self.parts], self.edges)

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> SwitchedNetworks:
        """The networks with parameters of another type or on another device."""
        return SwitchedNetworks([part.to(dtype, device) for part in self.parts], self.edges)

    def copy(self, dtype: torch.dtype, device: torch.device | str) -> SwitchedNetworks:
        """A copy that shares no memory with these networks."""
        return SwitchedNetworks([part.copy(dtype, device) for part in self.parts], self.edges)

    def evaluator(self) -> SwitchedEvaluator:
        """The mean velocity as a field."""
        return SwitchedEvaluator(self)


class SwitchedEvaluator(VelocityField):
    """Mean velocity of the ensemble in whose interval an angle lies."""

    def __init__(self, network: SwitchedNetworks):
        self.edges, self.parts = network.edges, [part.evaluator() for part in network.parts]

    def at(self, theta: float) -> FilmEvaluator:
        """The evaluator of the interval of an angle; an edge belongs to the interval above it."""
        return self.parts[bisect.bisect_right(self.edges, theta)]

    def __call__(self, z: Tensor, theta: float, divergence: bool = False) -> tuple[Tensor, Tensor | None]:
        """Mean velocity (n, d) and, if asked, its divergence (n,) for samples z (n, d) at angle theta."""
        return self.at(theta)(z, theta, divergence)

    def jacobian(self, z: Tensor, theta: float) -> Tensor:
        """Jacobian of the mean velocity, dF_i/dz_j at every sample: (n, d, d)."""
        return self.at(theta).jacobian(z, theta)
