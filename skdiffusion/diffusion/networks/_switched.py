"""Networks that share the noise levels among them: one ensemble for each interval, switched at the edges.

References
----------
Oko, Akiyama and Suzuki (2023): networks that get smaller as the noise grows are what the rate in W1 takes.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import torch

from skdiffusion.diffusion.networks._film import FilmEnsemble


class SwitchedNetworks:
    """Ensembles with as many members each, one for each interval of noise levels.

    Parameters
    ----------
    parts : sequence of FilmEnsemble
        From the data to the noise.
    edges : sequence of float
        Rising angles between them, one fewer than `parts`.
    """

    _saved = ("parts", "edges")

    def __init__(self, parts: Sequence[FilmEnsemble], edges: Sequence[float]):
        self.parts, self.edges = list(parts), tuple(float(e) for e in edges)

    # As of a single ensemble.

    @property
    def n_features(self) -> int:
        return self.parts[0].n_features

    @property
    def hidden_layer_sizes(self) -> list[tuple[int, ...]]:
        return [part.hidden_layer_sizes for part in self.parts]

    @property
    def activation(self) -> str:
        return self.parts[0].activation

    @property
    def n_members(self) -> int:
        return self.parts[0].n_members

    @property
    def n_parameters(self) -> int:
        return sum(part.n_parameters for part in self.parts)

    @property
    def dtype(self) -> torch.dtype:
        return self.parts[0].dtype

    @property
    def device(self) -> torch.device:
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
