"""Groups of members that take steps side by side, where a member then has the bits that it has among all.

A product of matrices goes member by member. A loop over the numbers of all members takes them in whole vectors, and
those that are left over at its end one by one, which may round otherwise: a group must leave none over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from skdiffusion._utils.processes import begin, n_free_helpers
from skdiffusion.diffusion.networks import FilmEnsemble
from skdiffusion.diffusion.training._optimizer import AdamW, in_rows

VECTORS = 32  # float32 numbers of the widest vectors of a processor, two at a time
MAX_SHARE = 0.6  # of the members in a group: with more, another division of the work gains more


class Rates(NamedTuple):
    """What a step takes of the plan."""

    learning_rate: float
    averaging_weight: float


class MemberSteps(Protocol):
    """Gradients of the loss of some members at several steps, which depend on no other member."""

    def gradients(self, network: FilmEnsemble) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Gradient by the parameters, as they are then, and losses of the members, (n_members,), step by step."""


@dataclass
class Walk:
    """Some members on their way: their parameters, the average of the latest ones and the optimizer."""

    network: FilmEnsemble
    average: torch.Tensor
    optimizer: AdamW

    def of_members(self, members: slice) -> Walk:
        """That of some members, in memory of its own."""
        optimizer = self.optimizer.of_members(members)
        return Walk(self.network.with_flat(optimizer.flat), in_rows(self.average[members]), optimizer)

    def take_over(self, members: slice, part: Walk) -> None:
        """Go to where some members have come."""
        self.average[members] = part.average
        self.optimizer.take_over(members, part.optimizer)

    def go(self, steps: MemberSteps, rates: Sequence[Rates]) -> tuple[Walk, torch.Tensor]:
        """Take steps; where that leads, and the losses (n_steps, n_members)."""
        losses = []
        with torch.no_grad():
            for (gradient, loss), rate in zip(steps.gradients(self.network), rates):
                self.optimizer.step(gradient, rate.learning_rate)
                self.average.lerp_(self.optimizer.flat, rate.averaging_weight)
                losses.append(loss)
        return self, torch.stack(losses)


def member_groups(network: FilmEnsemble, numbers: Sequence[int]) -> list[slice]:
    """The members of each group: one for this process and every free helper, or a single one.

    Parameters
    ----------
    network : FilmEnsemble
    numbers : sequence of int
        Of one member, in the loops over the numbers of all.
    """
    # Of one feature and one member, torch takes the last product for that of a matrix and a vector.
    smallest = 2 if network.n_features == 1 else 1
    count = min(1 + n_free_helpers(), network.n_members // smallest) if network.device.type == "cpu" else 1
    ends = [network.n_members * k // count for k in range(count + 1)]
    sizes = [stop - start for start, stop in zip(ends, ends[1:])]
    whole = all(size * number % VECTORS == 0 for size in sizes for number in numbers)
    if max(sizes) > MAX_SHARE * network.n_members or not whole:
        return [slice(0, network.n_members)]
    return [slice(start, stop) for start, stop in zip(ends, ends[1:])]


def go_in_groups(walk: Walk, parts: Sequence[tuple[slice, MemberSteps]], rates: Sequence[Rates]) -> torch.Tensor:
    """Take steps in groups of members side by side, in place; the losses (n_steps, n_members)."""
    tasks = [begin(walk.of_members(members).go, steps, rates) for members, steps in parts[1:]]
    members, steps = parts[0]
    own, losses = walk.of_members(members).go(steps, rates)
    found = [(own, losses), *(task.result() for task in tasks)]
    for (members, _), (part, _) in zip(parts, found):
        walk.take_over(members, part)
    walk.optimizer.count += len(rates)
    return torch.cat([losses for _, losses in found], 1)
