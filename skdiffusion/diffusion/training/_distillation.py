"""Training of a masked network on draws of a known density."""

import numpy as np
import torch

from skdiffusion.diffusion.networks import MaskedNetwork
from skdiffusion.diffusion.training._loop import Objective, run
from skdiffusion.diffusion.training._plans import DistillationPlan


class Distillation(Objective):
    """Mean of log p - log q over samples of p, and of its square, which has no noise where q is p."""

    def __init__(
        self,
        network: MaskedNetwork,
        samples: np.ndarray,
        log_density: np.ndarray,
        plan: DistillationPlan,
        rng: np.random.Generator,
    ) -> None:
        self.network, self.plan, self.rng = network, plan, rng
        self._parameters = network.flat.requires_grad_(True)
        super().__init__(self._parameters.detach()[None])
        self._samples, self._log_density = (
            torch.as_tensor(a, dtype=torch.float32, device=network.flat.device) for a in (samples, log_density)
        )
        self._masks = network.masks()
        self.divergences: list[torch.Tensor] = []  # mean of log p - log q over the samples of every step

    def gradient(self, step: int, n_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        n, plan = len(self._samples), self.plan
        batch = torch.as_tensor(self.rng.integers(n, size=min(plan.batch_size, n)), device=self._samples.device)
        with torch.enable_grad():
            log_q = self.network.log_prob(self._samples[batch], self.network.layers(self._masks))
            gap = self._log_density[batch] - log_q
            loss = gap.mean() + plan.square_weight * gap.clamp(-plan.max_gap, plan.max_gap).square().mean()
            (gradient,) = torch.autograd.grad(loss, self._parameters)
        gradient *= torch.clamp(plan.max_gradient_norm / torch.linalg.vector_norm(gradient), max=1.0)
        self.divergences.append(gap.detach().mean())
        return gradient[None], self.divergences[-1]

    def network_of(self, flat: torch.Tensor) -> MaskedNetwork:
        self.network.flat = flat[0]
        return self.network


def distill(
    network: MaskedNetwork,
    samples: np.ndarray,
    log_density: np.ndarray,
    plan: DistillationPlan,
    rng: np.random.Generator,
) -> list[float]:
    """Fit a masked network in place to samples of a distribution whose log-densities are known.

    Parameters
    ----------
    network : MaskedNetwork
    samples : array of shape (n_samples, d)
    log_density : array of shape (n_samples,)
        Log-densities of the distribution at the samples, in nats.
    plan : DistillationPlan
    rng : numpy Generator

    Returns
    -------
    list of float
        Mean of log p - log q over the samples of every step: an estimate of the Kullback-Leibler divergence.

    Raises
    ------
    KeyboardInterrupt
        A network that has seen only a part of its schedule is not worth keeping.
    """
    objective = Distillation(network, samples, log_density, plan, rng)
    if run(objective, plan).interrupted:
        raise KeyboardInterrupt
    return torch.stack(objective.divergences).tolist()
