"""The optimizer of every training run."""

import torch


def in_rows(values: torch.Tensor) -> torch.Tensor:
    """The same numbers of every member (n_members, n), apart in memory from those of the next one.

    A loop over numbers rounds those that fill no vector otherwise: these then are the same whatever the other members.
    """
    apart = values.new_zeros(*values.shape[:-1], values.shape[-1] + 1)[..., :-1]
    return apart.copy_(values)


class AdamW:
    """Adam with decoupled weight decay on one flat tensor, which it updates in place.

    Constructing torch's own optimizer imports its compiler, which takes 1.7 s in a fresh process.

    References
    ----------
    Loshchilov and Hutter (2019), Decoupled weight decay regularization.
    """

    BETAS, EPS = (0.9, 0.99), 1e-8

    def __init__(self, flat: torch.Tensor, weight_decay: float) -> None:
        self.flat, self.weight_decay = flat, weight_decay
        self.mean, self.square, self.root = (in_rows(torch.zeros_like(flat)) for _ in range(3))
        self.count = 0

    def of_members(self, members: slice) -> "AdamW":
        """The same of some members: what it changes are copies."""
        part = AdamW(self.flat[members].clone(), self.weight_decay)
        part.mean.copy_(self.mean[members])
        part.square.copy_(self.square[members])
        part.count = self.count
        return part

    def take_over(self, members: slice, part: "AdamW") -> None:
        """Write the parameters and moments that some members have reached."""
        self.flat[members], self.mean[members], self.square[members] = part.flat, part.mean, part.square

    def step(self, gradient: torch.Tensor, learning_rate: float) -> None:
        """Take one step."""
        self.count += 1
        b1, b2 = self.BETAS
        self.mean.lerp_(gradient, 1 - b1)
        self.square.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        root = torch.sqrt(self.square, out=self.root).mul_((1 - b2**self.count) ** -0.5).add_(self.EPS)
        self.flat.mul_(1 - learning_rate * self.weight_decay)
        self.flat.addcdiv_(self.mean, root, value=-learning_rate / (1 - b1**self.count))
