"""The optimizer of every training run."""

import torch


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
        self.mean, self.square, self.root = (torch.zeros_like(flat) for _ in range(3))
        self.count = 0

    def step(self, gradient: torch.Tensor, learning_rate: float) -> None:
        """Take one step."""
        self.count += 1
        b1, b2 = self.BETAS
        self.mean.lerp_(gradient, 1 - b1)
        self.square.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        root = torch.sqrt(self.square, out=self.root).mul_((1 - b2**self.count) ** -0.5).add_(self.EPS)
        self.flat.mul_(1 - learning_rate * self.weight_decay)
        self.flat.addcdiv_(self.mean, root, value=-learning_rate / (1 - b1**self.count))
