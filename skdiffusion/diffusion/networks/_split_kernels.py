r"""Divergences of two hidden layers by the targets of many splits, from few matrices.

The divergence by the targets u is a sum over them,

.. math:: \mathrm{tr}_u = \sum_{j \in u} s_1^T (W_2 \circ (W_3^j W_1^j)^T)\,s_2 ,

of the slopes s of both layers and the rows and columns of the first and the last matrix that belong to target j.
Targets are parted into groups of few, and those of one group that belong to a split make one matrix. The other splits
with the same ones there share it: a thousand splits of ten features need no more than 62 matrices, which stay in cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skdiffusion._utils.blocks import slices

PART = 5  # targets, of which 31 matrices are all that are ever needed


class Runs(NamedTuple):
    """Rows of a block by their matrices.

    Those that fill one of the larger sizes of blocks have a product for themselves. What is left of every matrix has
    one together with all others, in groups of the least size that they all fit into, which other rows fill up.
    Members have matrices of their own: places are those of all rows of the first member, of the second one, and so on.
    """

    taken: Tensor  # places of the rows of all products, one product after the other
    whole: list[tuple[slice, int]]  # of these, and the number of their matrix
    matrices: slice  # numbers of the matrices of the groups, which come last
    back: Tensor  # for every place its row among those of the products, after the last where it needs no matrix

    @classmethod
    def of(cls, which: np.ndarray, sizes: tuple[int, ...], n_members: int, device: torch.device | str = "cpu") -> Runs:
        """Those of rows whose matrices have these numbers, -1 where a row needs none."""
        order = np.argsort(which, kind="stable")
        order = order[which[order] >= 0]
        numbers, starts, counts = np.unique(which[order], return_index=True, return_counts=True)
        larger = sizes[1:] or sizes
        taken: list[np.ndarray] = []
        whole: list[tuple[slice, int]] = []
        left: list[np.ndarray] = []
        n_taken, members = 0, len(which) * np.arange(n_members)[:, None]
        for k, start, count in zip(numbers.tolist(), starts, counts):
            rows = order[start : start + count]
            for size in reversed(larger):
                while len(rows) >= size:
                    taken.append((members + rows[:size]).ravel())
                    whole.append((slice(n_taken, n_taken + n_members * size), k))
                    n_taken, rows = n_taken + n_members * size, rows[size:]
            left.append(rows)
        size = next(s for s in sizes if s >= max(map(len, left), default=0))
        first, last = (int(numbers[0]), int(numbers[-1]) + 1) if any(map(len, left)) else (0, 0)
        back = np.full(n_members * len(which), n_taken + (last - first) * n_members * size)
        filled = [(places, np.arange(part.start, part.stop)) for places, (part, _) in zip(taken, whole)]
        groups = np.zeros((last - first, n_members, size), dtype=np.int64)
        for k, rows in zip(numbers.tolist(), left):
            if len(rows):
                groups[k - first, :, : len(rows)] = members + rows
                place = n_taken + ((k - first) * n_members + np.arange(n_members)[:, None]) * size
                filled.append(((members + rows).ravel(), (place + np.arange(len(rows))).ravel()))
        for places, own in filled:
            back[places] = own
        together = np.concatenate([*taken, groups.ravel()]).astype(np.int64)
        all_taken, all_back = (torch.as_tensor(part, device=device) for part in (together, back))
        return cls(all_taken, whole, slice(first, last), all_back)

    def products(self, first: Tensor, matrices: Tensor) -> Tensor:
        """Rows (n_members, n, width) times their matrices (n_matrices, n_members, width, width)."""
        (members, _, width), n = first.shape, len(self.taken)
        rows = first.reshape(-1, width).index_select(0, self.taken)
        out = rows.new_empty(n + 1, width)
        out[n] = 0.0
        end = 0
        for part, k in self.whole:
            torch.bmm(rows[part].view(members, -1, width), matrices[k], out=out[part].view(members, -1, width))
            end = part.stop
        if own := self.matrices.stop - self.matrices.start:
            groups = rows[end:].view(own * members, -1, width)
            torch.bmm(groups, matrices[self.matrices].flatten(0, 1), out=out[end:n].view(groups.shape))
        return out.index_select(0, self.back).view(first.shape)


class PartMatrices(NamedTuple):
    """The matrices of some targets, for those of them that are targets of splits."""

    matrices: Tensor  # (n_matrices, n_members, width, width)
    which: np.ndarray  # (n_splits,), the matrix of every split, -1 where none of these targets is one of its

    @classmethod
    def of(cls, layers: list[tuple[Tensor, ...]], targets: np.ndarray, features: slice) -> PartMatrices:
        """Those of some features for splits (n_splits, n_targets) of a network with these layers."""
        (first, *_), (middle, *_), (last, _) = layers
        masks, which = np.unique(targets[:, features], axis=0, return_inverse=True)
        none = int(not masks[0].any())  # which is the first if it is there
        chosen = torch.as_tensor(masks[none:], dtype=first.dtype, device=first.device)
        by_targets = first[:, features] * chosen[:, None, :, None]
        products = torch.matmul(last[:, :, features], by_targets).transpose(2, 3)
        return cls((middle * products / len(first)).contiguous(), which.ravel() - none)

    @classmethod
    def of_parts(cls, layers: list[tuple[Tensor, ...]], targets: np.ndarray) -> list[PartMatrices]:
        """Those of all parts of the targets."""
        return [cls.of(layers, targets, features) for features in slices(targets.shape[1], PART)]
