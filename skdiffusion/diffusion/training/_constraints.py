"""Networks of few and bounded weights: pruning by magnitude on a schedule, and projection on a box.

References
----------
Zhu and Gupta (2017), To prune, or not to prune: the cubic schedule.
Evci et al. (2020), Rigging the lottery: the shares of the layers.
Oko, Akiyama and Suzuki (2023): the class of sparse networks of bounded weights.
"""

import numpy as np
import torch

PRUNED_FROM, PRUNED_TO = 0.2, 0.6  # of the steps, between which the weights become few


class WeightConstraint:
    """Keeps the largest `n_nonzero` parameters of every member, each at most `bound` in size.

    Every matrix keeps its share (`quotas`).

    Parameters
    ----------
    network : FilmEnsemble
        Whose parameters are meant.
    n_nonzero : int or None
        Parameters of a member that may differ from zero at the end.
    bound : float or None
        Largest absolute value of a parameter.
    """

    def __init__(self, network, n_nonzero, bound):
        self.network, self.n_nonzero, self.bound, self._mask = network, n_nonzero, bound, None

    def settled(self, step, n_steps):
        """Whether from this step on the parameters are as few as they shall be."""
        return self.n_nonzero is None or step >= PRUNED_TO * n_steps

    def allowed(self, step, n_steps):
        """Parameters that may differ from zero at a step."""
        n_parameters = self.network.n_parameters
        if self.n_nonzero is None or self.n_nonzero >= n_parameters:
            return n_parameters
        left = (PRUNED_TO - step / max(1, n_steps)) / (PRUNED_TO - PRUNED_FROM)
        return self.n_nonzero + int((n_parameters - self.n_nonzero) * min(1.0, max(0.0, left)) ** 3)

    def renew(self, flat, step, n_steps):
        """Choose the parameters that stay, the largest of each member."""
        allowed = self.allowed(step, n_steps)
        self._mask = None if allowed == self.network.n_parameters else self._largest(flat, allowed)

    def apply(self, *flats):
        """Bring parameters (n_members, n_parameters) into the class, in place."""
        for flat in flats:
            if self.bound is not None:
                flat.clamp_(-self.bound, self.bound)
            if self._mask is not None:
                flat.mul_(self._mask)

    def project(self, flat):
        """The parameters of the class nearest to these."""
        flat = flat.clone() if self.bound is None else flat.clamp(-self.bound, self.bound)
        return flat if self.n_nonzero is None else flat * self._largest(flat, self.allowed(1, 1))

    def _largest(self, flat, count):
        mask = torch.zeros_like(flat)
        values = [v for layer in self.network.views(flat) for v in layer]
        kept = [v for layer in self.network.views(mask) for v in layer]
        shares = quotas([v.shape[1:] for v in values], count)
        for out, of_matrix, share in zip(kept, values, shares, strict=True):
            largest = of_matrix.abs().flatten(1).topk(share, dim=1).indices
            out.copy_(torch.zeros_like(of_matrix).flatten(1).scatter_(1, largest, 1.0).view_as(of_matrix))
        return mask


def quotas(shapes, count):
    """How many of `count` entries fall to each matrix: as its samples and features together, at most all of its entries.

    Without quotas the layers at both ends, which are small or start at zero, would be the first to go.
    """
    sizes = np.array([samples * columns for samples, columns in shapes])
    wanted = np.array([samples + columns for samples, columns in shapes], dtype=float)
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
