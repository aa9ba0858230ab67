"""A trained ensemble as a field of the solvers: float64 rows in, float64 velocities out, in fixed blocks.

The density of a row must not depend on its neighbours. In float64 a matrix product's rounding depends
on the batch only at 1e-15; in float32 that would be 1e-7 and show. So rows travel in blocks of one size,
padded, in which a row's result has the same bits wherever it stands: a self-test at construction checks
that on this machine, and falls back to float64 where it fails.
"""

import numpy as np
import torch

BLOCK_ROWS = {"cpu": 256, "cuda": 8192}  # fits the cache of a core; fills a GPU


def _block_rows(network):
    return BLOCK_ROWS.get(network.device.type, 1024)


def _same_bits_anywhere(network):
    evaluate, block_rows = network.evaluator(), _block_rows(network)
    rng = np.random.default_rng(0)
    z = torch.as_tensor(
        rng.standard_normal((block_rows, network.n_features)), dtype=network.dtype, device=network.device
    )
    order = torch.as_tensor(rng.permutation(block_rows), device=network.device)
    alone = torch.zeros_like(z)
    alone[0] = z[7]
    for theta in (0.02, 0.7, 1.5):
        for divergence in (False, True):
            v, q = evaluate(z, theta, divergence)
            pv, pq = evaluate(z[order], theta, divergence)
            av, aq = evaluate(alone, theta, divergence)
            same = torch.equal(v[order], pv) and torch.equal(v[7], av[0])
            if q is not None:
                same = same and torch.equal(q[order], pq) and torch.equal(q[7], aq[0])
            if not same:
                return False
    return True


class NetworkField:
    """Mean velocity of a `FilmEnsemble` with its divergence, for `skdiffusion.ode.solve`.

    Parameters
    ----------
    network : FilmEnsemble
    """

    def __init__(self, network):
        with torch.no_grad():
            narrow = network.to(dtype=torch.float32)
            self.network = narrow if _same_bits_anywhere(narrow) else network.to(dtype=torch.float64)
            self._evaluator = self.network.evaluator()

    def __call__(self, z, theta, divergence=False):
        """Velocity (n, d) and divergence (n,) or None; numpy in, numpy out; tensors stay tensors."""
        if isinstance(z, np.ndarray):
            out = self.run_blocks(lambda block: [o for o in self(block, theta, divergence) if o is not None], z)
            return out if divergence else (out[0], None)
        velocity, trace = self._evaluator(z.to(self.network.dtype), theta, divergence)
        return velocity.double(), None if trace is None else trace.double()

    def jacobian(self, z, theta):
        """Jacobian of the velocity at every row of z, float64, shape (n, d, d)."""
        return self.run_blocks(lambda block: (self._jacobian(block, theta),), z)[0]

    def _jacobian(self, block, theta):
        # In small pieces: a row has n_features tangents.
        pieces = block.to(self.network.dtype).split(max(1, len(block) // block.shape[1]))
        return torch.cat([self._evaluator.jacobian(piece, theta) for piece in pieces]).double()

    def run_blocks(self, function, rows):
        """Apply `function` (tensors in, tuple of tensors out) to fixed-size blocks of float64 rows."""
        rows = np.asarray(rows, dtype=np.float64)
        out, size = None, _block_rows(self.network)
        with torch.no_grad():
            for start in range(0, max(1, len(rows)), size):
                block = rows[start : start + size]
                padded = np.zeros((size, rows.shape[1]))
                padded[: len(block)] = block
                parts = function(torch.as_tensor(padded, device=self.network.device))
                if out is None:
                    out = [np.empty((len(rows), *p.shape[1:])) for p in parts]
                for target, p in zip(out, parts):
                    target[start : start + len(block)] = p[: len(block)].cpu().numpy()
        return tuple(out)

    def __getstate__(self):
        return {"network": self.network.to(device="cpu")}

    def __setstate__(self, state):
        # The evaluator is a cache of products of the parameters: rebuilt, never stored.
        self.network = state["network"]
        self._evaluator = self.network.evaluator()
