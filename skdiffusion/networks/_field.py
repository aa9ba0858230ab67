"""A trained ensemble as a field of the solvers: float64 rows in, float64 velocities out, in blocks of fixed sizes.

The density of a row must not depend on its neighbours. In float64 a matrix product's rounding depends
on the batch only at 1e-15; in float32 that would be 1e-7 and show. So rows travel in blocks of a few sizes,
padded, in all of which a row's result has the same bits wherever it stands: a self-test at construction
checks that on this machine, and falls back to float64 where it fails.
"""

import numpy as np
import torch

# Rows of a block: the last size fits the cache of a core, or fills a GPU; the others are for what is left over.
BLOCK_ROWS = {"cpu": (16, 64, 256), "cuda": (512, 8192)}


def _block_rows(network):
    return BLOCK_ROWS.get(network.device.type, (1024,))


def _sizes_of_same_bits(network):
    """The block sizes in which a row has the bits it has in the largest, wherever it stands; maybe none."""
    evaluate, sizes = network.evaluator(), _block_rows(network)
    rng = np.random.default_rng(0)
    z = torch.as_tensor(rng.standard_normal((sizes[-1], network.n_features)), dtype=network.dtype)
    z, order = z.to(network.device), torch.as_tensor(rng.permutation(sizes[-1]), device=network.device)
    alone = torch.zeros_like(z)
    alone[0] = z[7]
    good = set(sizes)
    for theta in (0.02, 0.7, 1.5):
        for divergence in (False, True):
            results = [r for r in evaluate(z, theta, divergence) if r is not None]
            for size in tuple(good):
                # As they stand; in another order; one row among zeros.
                blocks = [(z[:size], slice(0, size), slice(None)), (alone[:size], slice(7, 8), slice(0, 1))]
                if size == sizes[-1]:
                    blocks.append((z[order], order, slice(None)))
                for block, rows, shown in blocks:
                    again = [r for r in evaluate(block, theta, divergence) if r is not None]
                    if not all(torch.equal(r[rows], a[shown]) for r, a in zip(results, again)):
                        good.discard(size)
    return tuple(s for s in sizes if s in good) if sizes[-1] in good else ()


class NetworkField:
    """Mean velocity of a `FilmEnsemble` with its divergence, for `skdiffusion.ode.solve`.

    Parameters
    ----------
    network : FilmEnsemble
    """

    def __init__(self, network):
        with torch.no_grad():
            self._use(network.to(dtype=torch.float32))

    def _use(self, network):
        sizes = _sizes_of_same_bits(network)
        self.network = network if sizes else network.to(dtype=torch.float64)
        self._evaluator = self.network.evaluator()
        self._sizes = sizes or _block_rows(network)  # in float64 they differ by 1e-15

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
        out, largest = None, self._sizes[-1]
        with torch.no_grad():
            for start in range(0, max(1, len(rows)), largest):
                block = rows[start : start + largest]
                size = next(s for s in self._sizes if s >= len(block))
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
        # The evaluator is a cache of products of the parameters; the block sizes depend on the machine.
        with torch.no_grad():
            self._use(state["network"])
