"""A trained ensemble as a field of the solvers: float64 samples in, float64 velocities out, in blocks of fixed sizes.

The density of a sample must not depend on its neighbors. In float64 a matrix product's rounding depends
on the batch only at 1e-15; in float32 that would be 1e-7 and show. So samples travel in blocks of a few sizes,
padded, in all of which a sample's result has the same bits wherever it stands: a self-test at construction
checks that on this machine, and falls back to float64 where it fails.
"""

import math

import numpy as np
import torch

from skdiffusion.diffusion.networks._reference import WhitenedField, times

# Samples of a block; of several choices the first that keeps the bits of a sample. The last size fits the cache of a core,
# or fills a GPU; the others are for what is left over.
BLOCK_SAMPLES = {"cpu": [(16, 64, 256, 384), (16, 64, 256)], "cuda": [(512, 8192)]}


def _block_samples(network):
    return BLOCK_SAMPLES.get(network.device.type, [(1024,)])


def _sizes_of_same_bits(field, sizes):
    """The block sizes in which a sample has the bits it has in the largest, wherever it stands; maybe none."""
    network, evaluate = field.network, field.flow_field
    rng = np.random.default_rng(0)
    z = torch.as_tensor(rng.standard_normal((sizes[-1], network.n_features)), device=network.device)
    order = torch.as_tensor(rng.permutation(sizes[-1]), device=network.device)
    alone = torch.zeros_like(z)
    alone[0] = z[7]
    good = set(sizes)
    for theta in (0.02, 0.7, 1.5, *network.edges):
        for divergence in (False, True):
            results = [r for r in evaluate(z, theta, divergence) if r is not None]
            for size in tuple(good):
                # As they stand; in another order; one sample among zeros.
                blocks = [(z[:size], slice(0, size), slice(None)), (alone[:size], slice(7, 8), slice(0, 1))]
                if size == sizes[-1]:
                    blocks.append((z[order], order, slice(None)))
                for block, samples, shown in blocks:
                    again = [r for r in evaluate(block, theta, divergence) if r is not None]
                    if not all(torch.equal(r[samples], a[shown]) for r, a in zip(results, again)):
                        good.discard(size)
    return tuple(s for s in sizes if s in good) if sizes[-1] in good else ()


class NetworkField:
    """Mean velocity of an ensemble with its divergence, for `skdiffusion.diffusion.ode.solve`.

    Parameters
    ----------
    network : FilmEnsemble or SwitchedNetworks
    noise_limit : float or None, default=None
        Bound of the predicted noise in every feature: predictions beyond it are set to it.
    reference : GaussianReference or None, default=None
        Distribution of the samples before noise; None is the standard normal distribution, that of whitened samples.
    """

    _saved = ("network", "noise_limit", "reference")

    def __init__(self, network, noise_limit=None, reference=None):
        self.noise_limit, self.reference = noise_limit, reference
        with torch.no_grad():
            self._use(network.to(dtype=torch.float32))

    def _use(self, network):
        choices = _block_samples(network)
        self._set(network, choices[0])
        # The divergence of a clipped sample takes its Jacobian, whose rounding depends on the block.
        for sizes in choices if self.noise_limit is None else ():
            if good := _sizes_of_same_bits(self, sizes):
                self._sizes = good
                return
        self._set(network.to(dtype=torch.float64), choices[0])  # in float64 they differ by 1e-15

    def _set(self, network, sizes):
        self.network, self._evaluator, self._sizes = network, network.evaluator(), sizes

    def with_network(self, network):
        """The field of another network of the same samples."""
        return NetworkField(network, self.noise_limit, self.reference)

    def place(self, w):
        """Whitened samples (n, d) in the coordinates of this field, where the noise is isotropic."""
        return w if self.reference is None else w @ self.reference.root

    @property
    def flow_field(self):
        """The field that the flow of whitened samples follows."""
        return self if self.reference is None else WhitenedField(self)

    @property
    def edges(self):
        """Angles at which one network takes over from another."""
        return self.network.edges

    def at(self, theta):
        """The field of the networks of the interval of an angle, at all angles; for blocks of tensors."""
        evaluate = self._evaluator.at(theta) if self.edges else self._evaluator
        return lambda z, angle, divergence=False: self._evaluate(evaluate, z, angle, divergence)

    def __call__(self, z, theta, divergence=False):
        """Velocity (n, d) and divergence (n,) or None; numpy in, numpy out; tensors stay tensors."""
        if isinstance(z, np.ndarray):
            out = self.run_blocks(lambda block: [o for o in self(block, theta, divergence) if o is not None], z)
            return out if divergence else (out[0], None)
        return self.at(theta)(z, theta, divergence)

    def _evaluate(self, evaluate, z, theta, divergence):
        velocity, trace = evaluate(z.to(self.network.dtype), theta, divergence)
        velocity, trace = velocity.double(), None if trace is None else trace.double()
        linear, own_trace = self._linear(theta, z)
        if linear is not None:
            velocity, trace = velocity + times(z, linear), None if trace is None else trace + own_trace
        if self.noise_limit is None:
            return velocity, trace
        cos, sin = math.cos(theta), math.sin(theta)
        noise = z * sin - velocity * cos
        beyond = noise.abs() > self.noise_limit
        samples = beyond.any(1)
        if not samples.any():
            return velocity, trace
        velocity = torch.where(beyond, (z * sin - noise.clamp(-self.noise_limit, self.noise_limit)) / cos, velocity)
        if trace is not None:
            # Where the noise is held, the velocity of that feature changes by tan(theta) with it, and with no other.
            own = self._free_jacobian(evaluate, z[samples], theta).diagonal(dim1=1, dim2=2)
            trace = trace.index_add(0, samples.nonzero()[:, 0], ((sin / cos - own) * beyond[samples]).sum(1))
        return velocity, trace

    def _linear(self, theta, like):
        """Matrix and trace of the velocity that the network's is relative to."""
        if self.reference is None or not self.reference.relative:
            return None, 0.0
        return self.reference.matrices(theta, like)[:2]

    def _free_jacobian(self, evaluate, z, theta):
        jacobian, (linear, _) = evaluate.jacobian(z.to(self.network.dtype), theta).double(), self._linear(theta, z)
        return jacobian if linear is None else jacobian + linear[: z.shape[1], : z.shape[1]]

    def jacobian(self, z, theta):
        """Jacobian of the velocity at every sample of z, float64, shape (n, d, d)."""
        return self.run_blocks(lambda block: (self._jacobian(block, theta),), z)[0]

    def _jacobian(self, block, theta):
        # In small pieces: a sample has n_features tangents.
        pieces = block.split(max(1, len(block) // block.shape[1]))
        jacobian = torch.cat([self._free_jacobian(self._evaluator, piece, theta) for piece in pieces])
        if self.noise_limit is None:
            return jacobian
        velocity, _ = self._evaluator(block.to(self.network.dtype), theta)
        linear, _ = self._linear(theta, block)
        velocity = velocity if linear is None else velocity + times(block, linear)
        beyond = (block * math.sin(theta) - velocity * math.cos(theta)).abs() > self.noise_limit
        held = math.tan(theta) * torch.eye(block.shape[1], dtype=jacobian.dtype, device=jacobian.device)
        return torch.where(beyond[:, :, None], held, jacobian)

    def run_blocks(self, function, samples):
        """Apply `function` (tensors in, tuple of tensors out) to fixed-size blocks of float64 samples."""
        samples = np.asarray(samples, dtype=np.float64)
        out, largest = None, self._sizes[-1]
        with torch.no_grad():
            for start in range(0, max(1, len(samples)), largest):
                block = samples[start : start + largest]
                size = next(s for s in self._sizes if s >= len(block))
                padded = np.zeros((size, samples.shape[1]))
                padded[: len(block)] = block
                parts = function(torch.as_tensor(padded, device=self.network.device))
                if out is None:
                    out = [np.empty((len(samples), *p.shape[1:])) for p in parts]
                for target, p in zip(out, parts):
                    target[start : start + len(block)] = p[: len(block)].cpu().numpy()
        return tuple(out)

    def __getstate__(self):
        return {
            "network": self.network.to(device="cpu"), "noise_limit": self.noise_limit, "reference": self.reference
        }  # fmt: skip

    def __setstate__(self, state):
        # The evaluator is a cache of products of the parameters; the block sizes depend on the machine.
        self.noise_limit, self.reference = state.get("noise_limit"), state.get("reference")
        with torch.no_grad():
            self._use(state["network"])
