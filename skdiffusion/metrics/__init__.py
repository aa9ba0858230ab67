"""Distances between samples and between densities, their floors, proper scores, and scorers for model selection."""

from skdiffusion.metrics._density import highest_density_coverage, importance_mass, kl_divergence, total_variation
from skdiffusion.metrics._discrepancies import (
    classifier_two_sample_test,
    energy_distance,
    maximum_mean_discrepancy,
    two_sample_floor,
)
from skdiffusion.metrics._predictive_scorers import (
    conditional_log_likelihood,
    make_interval_scorer,
    make_pinball_scorer,
    neg_crps,
    neg_interval_score,
    neg_pinball_loss,
)
from skdiffusion.metrics._proper_scores import crps_of_quantiles, crps_of_samples, interval_score
from skdiffusion.metrics._scorers import (
    SAMPLE_METRICS,
    make_sample_scorer,
    mean_log_likelihood,
    neg_c2st,
    neg_sliced_wasserstein_1,
    neg_wasserstein_1,
)
from skdiffusion.metrics._support import (
    delta_coverage,
    density_comparability,
    fidelity,
    memorized_excess,
    memorized_fraction,
    novelty,
    subspace_error,
)
from skdiffusion.metrics._transport import gaussian_wasserstein_2, sliced_wasserstein_1, wasserstein_1, wasserstein_2

__all__ = [
    "SAMPLE_METRICS", "classifier_two_sample_test", "conditional_log_likelihood", "crps_of_quantiles",
    "crps_of_samples", "delta_coverage", "density_comparability", "energy_distance", "fidelity",
    "gaussian_wasserstein_2", "highest_density_coverage", "importance_mass", "interval_score", "kl_divergence",
    "make_interval_scorer", "make_pinball_scorer", "make_sample_scorer", "maximum_mean_discrepancy",
    "mean_log_likelihood", "memorized_excess", "memorized_fraction", "neg_c2st", "neg_crps", "neg_interval_score",
    "neg_pinball_loss", "neg_sliced_wasserstein_1", "neg_wasserstein_1", "novelty", "sliced_wasserstein_1",
    "subspace_error", "total_variation", "two_sample_floor", "wasserstein_1", "wasserstein_2",
]  # fmt: skip
