"""Hypothesis strategies: small tables of every shape and scale, and random Gaussian mixtures."""

import numpy as np
from hypothesis import strategies as st

from skdiffusion.densities import GaussianMixtureDensity


@st.composite
def tables(draw, min_samples=2, max_samples=40, max_features=5):
    """Samples with scales from 1e-6 to 1e6, shifts, and perhaps duplicates, ties, constant or collinear features."""
    n, d = draw(st.integers(min_samples, max_samples)), draw(st.integers(1, max_features))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.standard_normal((n, d))
    kind = draw(st.sampled_from(["plain", "duplicates", "ties", "constant", "collinear", "heavy"]))
    if kind == "duplicates":
        X = X[rng.integers(0, max(1, n // 3), n)]
    elif kind == "ties":
        X[:, 0] = np.round(X[:, 0])
    elif kind == "constant":
        X[:, -1] = 1.0
    elif kind == "collinear" and d > 1:
        X[:, 1] = 2 * X[:, 0]
    elif kind == "heavy":
        X = rng.standard_t(1.5, (n, d))
    scale = 10.0 ** rng.uniform(-6, 6, d)
    return X * scale + scale * rng.uniform(-3, 3, d)


@st.composite
def standardized_mixtures(draw, max_components=4, max_features=3):
    """Gaussian mixtures of mean 0 and covariance I."""
    k, d = draw(st.integers(1, max_components)), draw(st.integers(1, max_features))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = rng.dirichlet(np.full(k, 3.0))
    means = rng.standard_normal((k, d)) * draw(st.sampled_from([0.3, 1.0, 2.0]))
    roots = rng.standard_normal((k, d, d)) * 0.5
    covariances = roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(d)
    centered = means - weights @ means
    whole = np.einsum("k,kij->ij", weights, covariances) + (centered * weights[:, None]).T @ centered
    values, axes = np.linalg.eigh(whole)
    root = axes / np.sqrt(values)
    return GaussianMixtureDensity(weights, centered @ root, root.T @ covariances @ root)
