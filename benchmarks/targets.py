"""Targets of known density, and tables: what the comparisons are run on.

Every target has ``sample(n, rng)`` and, where the density is known, ``log_density(X)`` in nats. Tables
are scikit-learn's bundled ones, plus every ``NAME.npz`` (array ``X``) of a folder given with ``--data``.
"""

from pathlib import Path

import numpy as np
from scipy.special import gammaln, logsumexp
from scipy.stats import norm, ortho_group, t, truncnorm


class MixtureTarget:
    """A Gaussian mixture; with many components along a curve, a blurred curve."""

    def __init__(self, means, covariances, weights=None):
        self.means = np.atleast_2d(np.asarray(means, dtype=float))
        k, d = self.means.shape
        covariances = np.asarray(covariances, dtype=float)
        if covariances.ndim == 0:
            covariances = covariances * np.eye(d)
        self.factors = np.linalg.cholesky(np.broadcast_to(covariances, (k, d, d)))
        self.weights = np.full(k, 1 / k) if weights is None else np.asarray(weights) / np.sum(weights)

    def sample(self, n, rng):
        k = rng.choice(len(self.weights), n, p=self.weights)
        return self.means[k] + np.einsum("nij,nj->ni", self.factors[k], rng.standard_normal((n, self.means.shape[1])))

    def log_prob(self, X):
        total = np.full(len(X), -np.inf)
        for w, m, f in zip(self.weights, self.means, self.factors):
            u = np.linalg.solve(f, (X - m).T)
            log_p = np.log(w) - 0.5 * (u**2).sum(0) - np.log(np.diag(f)).sum() - 0.5 * X.shape[1] * np.log(2 * np.pi)
            total = np.logaddexp(total, log_p)
        return total


class Checkerboard:
    """Uniform on the cells (i + j even) of a 4 x 4 board over [-2, 2]^2."""

    cells = np.array([(i, j) for i in range(4) for j in range(4) if (i + j) % 2 == 0])

    def sample(self, n, rng):
        return self.cells[rng.integers(len(self.cells), size=n)] + rng.random((n, 2)) - 2.0

    def log_prob(self, X):
        ij = np.floor(X + 2)
        inside = ((ij >= 0) & (ij < 4)).all(1) & (ij.sum(1) % 2 == 0)
        return np.where(inside, -np.log(8.0), -np.inf)


class Pinwheel:
    """Five Gaussian arms, turned by an angle that grows with the radius (which keeps areas)."""

    def __init__(self):
        angles = 2 * np.pi * np.arange(5) / 5
        turn = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles])
        spread = turn @ np.diag([0.4**2, 0.12**2]) @ turn.transpose(0, 2, 1)
        self.base = MixtureTarget(1.5 * np.column_stack([np.cos(angles), np.sin(angles)]), spread)

    @staticmethod
    def _turn(X, sign):
        a = sign * np.linalg.norm(X, axis=1)
        return np.column_stack([X[:, 0] * np.cos(a) - X[:, 1] * np.sin(a), X[:, 0] * np.sin(a) + X[:, 1] * np.cos(a)])

    def sample(self, n, rng):
        return self._turn(self.base.sample(n, rng), 1)

    def log_prob(self, X):
        return self.base.log_prob(self._turn(X, -1))


class Rings:
    """Concentric rings of Gaussian thickness, by default three."""

    def __init__(self, radii=(1.0, 2.0, 3.0), sd=0.08):
        self.radii, self.sd = np.array(radii), sd

    def sample(self, n, rng):
        c = self.radii[rng.integers(len(self.radii), size=n)]
        r = truncnorm.rvs(-c / self.sd, np.inf, c, self.sd, random_state=rng)
        a = rng.uniform(0, 2 * np.pi, n)
        return np.column_stack([r * np.cos(a), r * np.sin(a)])

    def log_prob(self, X):
        r = np.linalg.norm(X, axis=1)[:, None]
        each = norm.logpdf(r, self.radii, self.sd) - norm.logcdf(self.radii / self.sd) - np.log(2 * np.pi * r)
        return logsumexp(each, axis=1) - np.log(len(self.radii))


class Triangular:
    """x_i = shift_i(x_1 .. x_{i-1}) + exp(log_scale_i) z_i: banana, funnel, warped Gaussian."""

    def __init__(self, d, rule):
        self.d, self.rule = d, rule

    def sample(self, n, rng):
        z, X = rng.standard_normal((n, self.d)), np.zeros((n, self.d))
        for i in range(self.d):
            shift, log_scale = self.rule(i, X[:, :i])
            X[:, i] = shift + np.exp(log_scale) * z[:, i]
        return X

    def log_prob(self, X):
        total = np.zeros(len(X))
        for i in range(self.d):
            shift, log_scale = self.rule(i, X[:, :i])
            total += norm.logpdf((X[:, i] - shift) / np.exp(log_scale)) - log_scale
        return total


class StudentCopula:
    """A Student-t copula of alternating correlations with Student-t margins of several tails."""

    dof = np.array([2.5, 3.0, 4.0, 6.0, 10.0])

    def __init__(self, nu=4.0, rho=0.7):
        self.nu, i = nu, np.arange(5)
        correlation = rho ** np.abs(i[:, None] - i) * np.where((i[:, None] + i) % 2, -1, 1)
        correlation[i, i] = 1
        self.factor = np.linalg.cholesky(correlation)

    def sample(self, n, rng):
        T = rng.standard_normal((n, 5)) @ self.factor.T / np.sqrt(rng.chisquare(self.nu, n) / self.nu)[:, None]
        # Through the lower tail, which keeps its digits far out.
        return -np.sign(T) * t.ppf(t.cdf(-np.abs(T), self.nu), self.dof)

    def log_prob(self, X):
        T = -np.sign(X) * t.ppf(t.cdf(-np.abs(X), self.dof), self.nu)
        q, nu = (np.linalg.solve(self.factor, T.T) ** 2).sum(0), self.nu
        joint = (
            gammaln((nu + 5) / 2)
            - gammaln(nu / 2)
            - 2.5 * np.log(nu * np.pi)
            - np.log(np.diag(self.factor)).sum()
            - (nu + 5) / 2 * np.log1p(q / nu)
        )
        return joint + (t.logpdf(X, self.dof) - t.logpdf(T, nu)).sum(1)


class ClaytonCopula:
    """A Clayton copula, whose dependence is all in the lower tail, with standard normal margins."""

    def __init__(self, theta=2.0, d=3):
        self.theta, self.d = theta, d

    def sample(self, n, rng):
        V, E = rng.gamma(1 / self.theta, size=(n, 1)), rng.standard_exponential((n, self.d))
        log_u = -np.log1p(E / V) / self.theta  # Marshall and Olkin (1988)
        return np.where(log_u < -1, norm.ppf(np.exp(log_u)), norm.isf(-np.expm1(log_u)))

    def log_prob(self, X):
        theta, d, log_u = self.theta, self.d, norm.logcdf(X)
        log_sum = logsumexp(-theta * log_u, axis=1)
        log_sum += np.log1p(-(d - 1) * np.exp(-log_sum))
        constant = np.log1p(theta * np.arange(d)).sum()
        copula = constant - (theta + 1) * log_u.sum(1) - (d + 1 / theta) * log_sum
        return copula + norm.logpdf(X).sum(1)


class RoughDensity:
    """A density on [-1, 1] with random wavelet-like detail of smoothness about s, constant on 2^14 cells."""

    def __init__(self, s, seed=7):
        rng, m = np.random.default_rng(seed), 2**14
        u, f = (np.arange(m) + 0.5) / m, np.zeros(2**14)
        for j in range(1, 11):
            signs = rng.choice([-1.0, 1.0], 2**j) * (rng.random(2**j) < max(0.15, 2.0 ** (-j / 2)))
            x = u * 2**j
            cell = np.floor(x).astype(int)
            bump = 1.0 if s < 1 else np.sin(np.pi * (x - cell)) ** 2
            f += 1.5 * 2.0 ** (-s * (j - 1)) * signs[cell] * bump
        self.p = np.exp(f - f.max())
        self.p /= self.p.sum()

    def sample(self, n, rng):
        cell = np.minimum(np.searchsorted(np.cumsum(self.p), rng.random(n)), len(self.p) - 1)
        return ((cell + rng.random(n)) / len(self.p) * 2 - 1)[:, None]

    def log_prob(self, X):
        cell = np.floor((X[:, 0] + 1) / 2 * len(self.p)).astype(int)
        inside = (cell >= 0) & (cell < len(self.p))
        return np.where(inside, np.log(self.p[np.clip(cell, 0, len(self.p) - 1)] * len(self.p) / 2), -np.inf)


def _circle(k, radius):
    a = 2 * np.pi * np.arange(k) / k
    return radius * np.column_stack([np.cos(a), np.sin(a)])


def _moons():
    a = np.pi * (np.arange(500) + 0.5) / 500
    upper = np.column_stack([np.cos(a), np.sin(a)])
    return MixtureTarget(np.concatenate([upper, [1.0, 0.5] - upper]), 0.1**2)


def bent_features(d, seed):
    rng = np.random.default_rng(seed)
    layers = [
        (rng.normal(size=(i, 8)) / np.sqrt(max(i, 1)), rng.uniform(-1, 1, 8), rng.normal(size=(8, 2))) for i in range(d)
    ]

    def rule(i, past):
        if i == 0:
            return 0.0, 0.0
        h = np.sin(1.5 * past @ layers[i][0] + layers[i][1]) @ layers[i][2] / np.sqrt(8)
        return 1.5 * h[:, 0], 0.7 * h[:, 1]

    return Triangular(d, rule)


def _random_mixture(d, separation, seed):
    rng = np.random.default_rng(seed)
    axes = [ortho_group.rvs(d, random_state=rng) for _ in range(8)]
    spreads = [(q * np.exp(rng.uniform(np.log(0.1), 0, d))) @ q.T for q in axes]
    return MixtureTarget(rng.normal(0, separation, (8, d)), np.array(spreads), rng.dirichlet(np.full(8, 5.0)))


TARGETS = {
    "ring8": lambda: MixtureTarget(_circle(8, 3.0), 0.25**2),
    "grid25": lambda: MixtureTarget(np.stack(np.meshgrid(*[2.0 * np.arange(5) - 4] * 2), -1).reshape(-1, 2), 0.2**2),
    "checkerboard": Checkerboard,
    "moons": _moons,
    "pinwheel": Pinwheel,
    "rings": Rings,
    "banana": lambda: Triangular(2, lambda i, P: (0.0, np.log(1.5)) if i == 0 else (0.5 * P[:, 0] ** 2, np.log(0.4))),
    "rough_s0.5": lambda: RoughDensity(0.5),
    "rough_s1": lambda: RoughDensity(1.0),
    "rough_s3": lambda: RoughDensity(3.0),
    "funnel5": lambda: Triangular(5, lambda i, P: (0.0, np.log(3.0)) if i == 0 else (0.0, P[:, 0] / 2)),
    "tcopula5": StudentCopula,
    "warped8": lambda: bent_features(8, 3),
    "gmm_sep_d8": lambda: _random_mixture(8, 2.0, 8),
    "warped16": lambda: bent_features(16, 5),
    "gmm_mix_d32": lambda: _random_mixture(32, 0.5, 132),
    "gmm_sep_d64": lambda: _random_mixture(64, 1.0, 64),
}


def _bundled(name):
    from sklearn import datasets

    table = getattr(datasets, f"load_{name}")()
    X = np.unique(np.column_stack([table.data, table.target]) if name == "diabetes" else table.data, axis=0)
    distinct = np.array([len(np.unique(c)) for c in X.T])
    X = X[:, distinct >= 8].astype(float)
    scale = X.std(0)
    keep = []
    for j in range(X.shape[1]):
        if all(abs(np.corrcoef(X[:, i], X[:, j])[0, 1]) < 0.98 for i in keep):
            keep.append(j)
    X, scale = X[:, keep], scale[keep]
    # One grid step of uniform noise, at least 5 % of the spread where one value holds many samples: a
    # likelihood on tied values rewards spikes without bound, whoever makes them.
    rng = np.random.default_rng(0)
    for j in range(X.shape[1]):
        values, counts = np.unique(X[:, j], return_counts=True)
        step = np.quantile(np.diff(values), 0.01)
        if counts.max() > 0.02 * len(X):
            step = max(step, 0.05 * scale[j])
        X[:, j] += step * (rng.random(len(X)) - 0.5)
    return (X - X.mean(0)) / X.std(0)


BUNDLED = ("iris", "wine", "breast_cancer", "diabetes", "digits")


def load(name, n, seed, data=None):
    """Training samples, test samples and the target (None for a table), for `n` training samples at most."""
    if name in TARGETS:
        target, rng = TARGETS[name](), np.random.default_rng([seed, 1])
        return target.sample(n, rng), target.sample(10_000, rng), target
    if name in BUNDLED:
        X = _bundled(name)
    else:
        X = np.load(Path(data) / f"{name}.npz")["X"].astype(float)
    order = np.random.default_rng([seed, 2]).permutation(len(X))
    n_test = min(4000, max(len(X) - n, int(0.3 * len(X))))
    return X[order[n_test:][:n]], X[order[:n_test]], None


def names(data=None):
    """All names: targets, bundled tables, and those of the folder `data` that are not bundled."""
    folder = sorted(p.stem for p in Path(data).glob("*.npz")) if data else []
    return [*TARGETS, *BUNDLED, *[f for f in folder if f not in BUNDLED]]
