"""Results of the theory of diffusion models, as functions of numbers that help to choose hyper-parameters.

``wasserstein`` : errors of the probability-flow sampler in Wasserstein-2, and the steps they ask for.
``besov`` : rates over smoothness classes, and the sizes and noise levels that attain them.
``gaussian`` : scores relative to a Gaussian reference.
``subspace`` : rates and stopping levels on a linear subspace or manifold.
"""

from skdiffusion.theory import besov, gaussian, subspace, wasserstein

__all__ = ["besov", "gaussian", "subspace", "wasserstein"]
