"""The peers of the comparison: density estimators and generators as their users would set them up.

Each has ``fit(X, seed, seconds)``, ``score_samples(X)`` in nats (None if it has no density) and
``sample(n, seed)``, on standardized features. The neural ones train for `seconds` CPU seconds at most,
with early stopping on a tenth of the samples.
"""

import copy
import time
from importlib import import_module
from importlib.metadata import version

import numpy as np


class Peer:
    """Standardizes the features, and corrects the density for it."""

    packages = ("scikit-learn",)
    modules = ("sklearn.mixture", "sklearn.neighbors", "sklearn.model_selection")
    max_scored = 2000

    def __init__(self):
        for module in self.modules:  # before the clock starts
            import_module(module)

    def fit(self, X, seed, seconds):
        self.mean, self.scale = X.mean(0), X.std(0) + 1e-12
        self.seed, self.deadline = seed, time.process_time() + seconds
        self._fit((X - self.mean) / self.scale)
        return self

    def score_samples(self, X):
        inside = self._score((X - self.mean) / self.scale)
        return None if inside is None else inside - np.log(self.scale).sum()

    def sample(self, n, seed):
        return self._sample(n, seed) * self.scale + self.mean

    @classmethod
    def versions(cls):
        return {name: version(name) for name in cls.packages}


class Kernel(Peer):
    """KernelDensity, bandwidth by cross-validation.

    Of several features in one leaf, whose sum is exact: over a tree scikit-learn's sums are too large by nats from
    about 16 features on, and would choose the bandwidth (`benchmarks.kernel_sums`). Of one feature the sum over a tree
    keeps its tolerance, and takes half the time.
    """

    def _fit(self, X):
        from sklearn.model_selection import GridSearchCV, KFold
        from sklearn.neighbors import KernelDensity

        grid = np.geomspace(0.02, 1.0, 12) if X.shape[1] > 1 else np.geomspace(0.003, 0.5, 14)
        cv = KFold(5 if len(X) <= 5000 else 3, shuffle=True, random_state=self.seed)
        density = KernelDensity(leaf_size=len(X)) if X.shape[1] > 1 else KernelDensity(rtol=1e-6)
        self.model = GridSearchCV(density, {"bandwidth": grid}, cv=cv).fit(X).best_estimator_

    def _score(self, X):
        return self.model.score_samples(X)

    def _sample(self, n, seed):
        return self.model.sample(n, random_state=seed)


class Mixture(Peer):
    """GaussianMixture of full covariances, up to 64 components, their number by BIC."""

    def _fit(self, X):
        from sklearn.mixture import GaussianMixture

        best_bic, worse = np.inf, 0
        for k in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48, 64):
            if worse >= 5 or k * 3 > len(X):
                break
            model = GaussianMixture(k, reg_covar=1e-6, max_iter=300, random_state=self.seed).fit(X)
            bic = model.bic(X)
            worse = 0 if bic < best_bic else worse + 1
            if bic < best_bic:
                self.model, best_bic = model, bic

    def _score(self, X):
        return self.model.score_samples(X)

    def _sample(self, n, seed):
        self.model.random_state = seed
        # The samples of GaussianMixture come sorted by component.
        return np.random.default_rng(seed).permutation(self.model.sample(n)[0])


class Vine(Peer):
    """pyvinecopulib: kernel margins, pair copulas by AIC; above 16 features nonparametric ones in 8 trees."""

    packages = modules = ("pyvinecopulib",)

    def _fit(self, X):
        import pyvinecopulib
        from pyvinecopulib.sklearn import VineDensity

        controls = None
        if X.shape[1] > 16:
            controls = pyvinecopulib.FitControlsVinecop(
                family_set=[pyvinecopulib.BicopFamily.tll], trunc_lvl=8, num_threads=1
            )
        self.model = VineDensity(controls=controls, random_state=self.seed).fit(X)

    def _score(self, X):
        return np.asarray(self.model.score_samples(X))

    def _sample(self, n, seed):
        self.model.random_state = seed
        return np.asarray(self.model.sample(n))


class Forest(Peer):
    """ForestDiffusion, flow matching with boosted trees, reduced: 20 levels, 20 copies, 50 trees (50, 100, 100)."""

    packages = modules = ("ForestDiffusion", "xgboost")

    def _fit(self, X):
        from ForestDiffusion import ForestDiffusionModel

        self.d = X.shape[1]
        self.model = ForestDiffusionModel(
            X, n_t=20, duplicate_K=20, n_estimators=50, n_jobs=1, seed=self.seed, diffusion_type="flow"
        )

    def _score(self, X):
        return None

    def _sample(self, n, seed):
        np.random.seed(seed)  # noqa: NPY002  its own source of noise
        return np.asarray(self.model.generate(batch_size=n), dtype=float)[:, : self.d]


class Neural(Peer):
    """Adam on batches of 256, gradient clipping, decay over the last third, averaged weights, early stopping."""

    packages = modules = ("torch",)
    rate, patience, averaging = 1e-3, 30, 0.0

    def _fit(self, X):
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        self.d = X.shape[1]
        samples = torch.as_tensor(X, dtype=torch.float32)[torch.randperm(len(X))]
        held, samples = samples[: len(X) // 10 + 1], samples[len(X) // 10 + 1 :]
        self.network = self._build()
        averaged = copy.deepcopy(self.network)
        optimizer = torch.optim.Adam(self.network.parameters(), self.rate)
        start, best, waited, step = time.process_time(), np.inf, 0, 0
        weights = averaged.state_dict()
        while waited < self.patience and time.process_time() < self.deadline:
            for batch in samples[torch.randperm(len(samples))].split(256):
                if len(batch) < 2:
                    continue
                spent = (time.process_time() - start) / (self.deadline - start)
                for group in optimizer.param_groups:
                    group["lr"] = self.rate * float(np.clip(3 * (1 - spent), 0.02, 1.0))
                optimizer.zero_grad()
                self._loss(self.network, batch).backward()
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
                optimizer.step()
                step += 1
                keep = min(self.averaging, step / (10 + step))
                with torch.no_grad():
                    for a, p in zip(averaged.parameters(), self.network.parameters()):
                        a.lerp_(p, 1 - keep)
                if spent > 1:
                    break
            with torch.no_grad():
                loss = self._validation(averaged, held)
            waited = 0 if loss < best else waited + 1
            if loss < best:
                best, weights = loss, copy.deepcopy(averaged.state_dict())
        self.network.load_state_dict(weights)
        self.network.eval()


class SplineFlow(Neural):
    """zuko's neural spline flow: 5 transforms, two hidden layers of 128."""

    packages = modules = ("zuko", "torch")
    flow = "NSF"

    def _build(self):
        import zuko

        return getattr(zuko.flows, self.flow)(self.d, transforms=5, hidden_features=(128, 128))

    def _loss(self, network, batch):
        return -network().log_prob(batch).mean()

    def _validation(self, network, samples):
        return float(self._loss(network, samples))

    def _score(self, X):
        import torch

        with torch.no_grad():
            blocks = torch.as_tensor(X, dtype=torch.float32).split(2000)
            return torch.cat([self.network().log_prob(b) for b in blocks]).double().numpy()

    def _sample(self, n, seed):
        import torch

        torch.manual_seed(seed)
        with torch.no_grad():
            return self.network().sample((n,)).double().numpy()


class AutoregressiveFlow(SplineFlow):
    """zuko's masked autoregressive flow: 5 transforms, two hidden layers of 128."""

    flow = "MAF"


class FlowMatching(Neural):
    """torchcfm's conditional flow matching, three layers of 256; torchdiffeq's likelihood with the exact trace."""

    packages = ("torchcfm", "torchdiffeq", "torch")
    modules = ("torchcfm.conditional_flow_matching", "torchdiffeq")
    rate, patience, averaging = 2e-3, 200, 0.999
    noise_time, data_time = 0.0, 1.0

    @property
    def max_scored(self):
        # An exact trace costs d passes at each of a hundred evaluations.
        return 2000 if self.d < 5 else 1000 if self.d < 12 else 500

    def _build(self):
        from torch.nn import Linear, Sequential, SiLU

        layers = [Linear(self.d + 16, 256), SiLU(), Linear(256, 256), SiLU(), Linear(256, 256), SiLU()]
        return Sequential(*layers, Linear(256, self.d))

    @staticmethod
    def _output(network, t, x):
        import torch

        waves = t[..., None] * (np.pi * torch.arange(1, 9))
        return network(torch.cat([x, waves.sin(), waves.cos()], -1))

    def _loss(self, network, batch, t=None):
        import torch
        from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

        matcher = ConditionalFlowMatcher(sigma=0.0)
        t, x, u = matcher.sample_location_and_conditional_flow(torch.randn_like(batch), batch, t=t)
        return ((self._output(network, t, x) - u) ** 2).sum(-1).mean()

    def _validation(self, network, samples):
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(0)
            samples = samples.repeat(max(1, 2000 // len(samples)), 1)
            return float(self._loss(network, samples, torch.rand(len(samples))))

    def _velocity(self, t, x):
        return self._output(self.network, t, x)

    def _solve(self, derivative, state, start, end):
        import torch
        from torchdiffeq import odeint

        # Time in double precision: in single the step size underflows.
        times = torch.tensor([start, end], dtype=torch.float64)
        path = odeint(
            lambda t, y: derivative(t.float(), y), state, times, rtol=1e-4, atol=1e-4, method="dopri5",
            options={"dtype": torch.float64},
        )  # fmt: skip
        return [part[-1] for part in path]

    def _score(self, X):
        import torch

        def twice(t, x):
            v = self._velocity(t[None], x[None])[0]
            return v, v

        jacobian = torch.func.vmap(torch.func.jacfwd(twice, argnums=1, has_aux=True), in_dims=(None, 0))

        def derivative(t, state):
            matrices, v = jacobian(t, state[0])
            return v, matrices.diagonal(dim1=1, dim2=2).sum(1)

        out = []
        with torch.no_grad():
            for block in torch.as_tensor(X, dtype=torch.float32).split(500):
                start = (block, torch.zeros(len(block)))
                z, change = self._solve(derivative, start, self.data_time, self.noise_time)
                out.append(change - 0.5 * (z**2).sum(1) - 0.5 * self.d * np.log(2 * np.pi))
        return torch.cat(out).double().numpy()

    def _sample(self, n, seed):
        import torch

        torch.manual_seed(seed)
        with torch.no_grad():
            noise = (torch.randn(n, self.d),)

            def derivative(t, state):
                return (self._velocity(t.expand(len(state[0])), state[0]),)

            return self._solve(derivative, noise, self.noise_time, self.data_time)[0].double().numpy()


class NoisePrediction(FlowMatching):
    """A plain variance-preserving diffusion (beta 0.1 to 20), noise prediction; probability flow by SciPy's RK45."""

    packages = ("torch", "scipy")
    modules = (*FlowMatching.modules, "scipy.integrate")
    noise_time, data_time = 1.0, 1e-3

    @staticmethod
    def _signal_and_noise(t):
        import torch

        total = 0.1 * t + 9.95 * t**2
        return torch.exp(-0.5 * total)[..., None], (-torch.expm1(-total)).sqrt()[..., None]

    def _loss(self, network, batch, t=None):
        import torch

        t = self.data_time + (1 - self.data_time) * (torch.rand(len(batch)) if t is None else t)
        (signal, noise), e = self._signal_and_noise(t), torch.randn_like(batch)
        return ((self._output(network, t, signal * batch + noise * e) - e) ** 2).sum(-1).mean()

    def _velocity(self, t, x):
        noise = self._signal_and_noise(t)[1]
        return -0.5 * (0.1 + 19.9 * t)[..., None] * (x - self._output(self.network, t, x) / noise)

    def _solve(self, derivative, state, start, end):
        import torch
        from scipy.integrate import solve_ivp

        shapes = [part.shape for part in state]
        sizes = np.cumsum([part.numel() for part in state])[:-1]

        def unpack(flat):
            parts = np.split(flat, sizes)
            return tuple(torch.as_tensor(p, dtype=torch.float32).reshape(s) for p, s in zip(parts, shapes))

        def flat_derivative(t, flat):
            parts = derivative(torch.tensor(t, dtype=torch.float32), unpack(flat))
            return np.concatenate([p.double().numpy().ravel() for p in parts])

        flat = np.concatenate([part.double().numpy().ravel() for part in state])
        return unpack(solve_ivp(flat_derivative, (start, end), flat, method="RK45", rtol=1e-4, atol=1e-4).y[:, -1])


class TrainingRows(Peer):
    """The training samples themselves: what a perfect copy of them gets, and a perfect distribution of so few samples
    hardly beats."""

    packages, modules = ("numpy",), ("numpy",)

    def _fit(self, X):
        self.samples = X

    def _score(self, X):
        return None

    def _sample(self, n, seed):
        rng = np.random.default_rng(seed)
        order = [rng.permutation(len(self.samples)) for _ in range(-(-n // len(self.samples)))]
        return self.samples[np.concatenate(order)[:n]]


PEERS = {
    "kernel density": Kernel, "Gaussian mixture": Mixture, "spline flow": SplineFlow, "MAF": AutoregressiveFlow,
    "flow matching": FlowMatching, "VP-SDE": NoisePrediction, "vine copula": Vine, "ForestDiffusion": Forest,
}  # fmt: skip
REFERENCES = {"training rows": TrainingRows}  # shown beside the peers' samples, and compared with nothing
