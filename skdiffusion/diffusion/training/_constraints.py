"""Networks with few and bounded weights: pruning by magnitude on a schedule, and projection on a box.

References
----------
Zhu and Gupta (2017), To prune, or not to prune: the cubic schedule.
Evci et al. (2020), Rigging the lottery: the shares of the layers.
Oko, Akiyama and Suzuki (2023): the class of sparse networks of bounded weights.
"""

import numpy as np
import torch

from skdiffusion.diffusion.networks import FilmEnsemble


class WeightConstraint:
    """Keeps the largest `n_nonzero` parameters of every member, each at most `bound` in size.

    Every weight matrix keeps its share (`quotas`). Their number falls from all to `n_nonzero` between the fractions
    `pruning_range` of the steps.
    """

    def __init__(
        self, network: FilmEnsemble, n_nonzero: int | None, bound: float | None, pruning_range: tuple[float, float]
    ) -> None:
        self.network, self.n_nonzero, self.bound, self.pruning_range = network, n_nonzero, bound, pruning_range
        self._mask: torch.Tensor | None = None

    @property
    def is_active(self) -> bool:
        """Whether there is anything to keep to."""
        return self.n_nonzero is not None or self.bound is not None

    def settled(self, step: int, n_steps: int) -> bool:
        """Whether pruning is over at a step."""
        return self.n_nonzero is None or step >= self.pruning_range[1] * n_steps

    def allowed(self, step: int, n_steps: int) -> int:
        """Parameters of a member that may differ from zero at a step."""
        n_parameters = self.network.n_parameters
        if self.n_nonzero is None or self.n_nonzero >= n_parameters:
            return n_parameters
        start, end = self.pruning_range
        left = (end - step / max(1, n_steps)) / (end - start)
        return self.n_nonzero + int((n_parameters - self.n_nonzero) * min(1.0, max(0.0, left)) ** 3)

    def renew(self, flat: torch.Tensor, step: int, n_steps: int) -> None:
        """Choose the parameters that stay, the largest of each member."""
        allowed = self.allowed(step, n_steps)
        self._mask = None if allowed == self.network.n_parameters else self._largest(flat, allowed)

    def apply(self, *flats: torch.Tensor) -> None:
        """Bring parameters (n_members, n_parameters) into the class, in place."""
        for flat in flats:
            if self.bound is not None:
                flat.clamp_(-self.bound, self.bound)
            if self._mask is not None:
                flat.mul_(self._mask)

    def project(self, flat: torch.Tensor) -> torch.Tensor:
        """The parameters of the class that are nearest to these."""
        flat = flat.clone() if self.bound is None else flat.clamp(-self.bound, self.bound)
        return flat if self.n_nonzero is None else flat * self._largest(flat, self.allowed(1, 1))

    def _largest(self, flat: torch.Tensor, count: int) -> torch.Tensor:
        """1 for the `count` largest parameters of each member, 0 for the others."""
        mask = torch.zeros_like(flat)
        values = [v for layer in self.network.views(flat) for v in layer]
        kept = [v for layer in self.network.views(mask) for v in layer]
        shares = quotas([(v.shape[1], v.shape[2]) for v in values], count)
        for out, matrix, share in zip(kept, values, shares, strict=True):
            largest = matrix.abs().flatten(1).topk(share, dim=1).indices
            out.copy_(torch.zeros_like(matrix).flatten(1).scatter_(1, largest, 1.0).view_as(matrix))
        return mask


def quotas(shapes: list[tuple[int, int]], count: int) -> list[int]:
    """How many of `count` entries each matrix keeps: in proportion to its rows plus columns, and at most all.

    Without quotas the first and the last layer, which are small or start at zero, would be pruned first.
    """
    sizes = np.array([n_rows * n_columns for n_rows, n_columns in shapes])
    wanted = np.array([n_rows + n_columns for n_rows, n_columns in shapes], dtype=float)
    full = np.zeros(len(sizes), dtype=bool)
    while True:
        left = count - sizes[full].sum()
        share = np.where(full, sizes, left * wanted / max(1.0, wanted[~full].sum()))
        if not (share > sizes)[~full].any():
            break
        full |= share > sizes
    out = np.minimum(np.floor(share).astype(int), sizes)
    for i in np.argsort(out - share, kind="stable")[: count - out.sum()]:
        out[i] += 1
    return out.tolist()
