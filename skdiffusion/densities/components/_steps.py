"""The density between steps, of a single feature."""

from __future__ import annotations

import numpy as np

from skdiffusion._utils.numerics import best_blend
from skdiffusion.densities import Component, TransformedDensity, fit_steps
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit
from skdiffusion.preprocessing import MappedData

MIN_LOG_PROB = -1e6  # of a sample beyond the cells, for the choice of a space


class StepsFamily(ComponentFamily):
    """Averaged Pólya trees of a single feature, in the space where they add most to the blend.

    They cost next to nothing, so that the weights of the blend alone say what they are worth.
    """

    def fit(self, fit: ComponentFit) -> list[Component]:
        if fit.data.n_features > 1 or fit.data.n_effective < fit.options.min_steps_samples:
            return []
        others, share = fit.others(), fit.data.validation_weight / fit.data.validation_weight.sum()
        mapped = [fit.data.mapped(space) for space in fit.spaces.by_prefix().values()]
        tables = [out_of_fold_steps(fit, space) for space in mapped]
        finite = [np.maximum(table, MIN_LOG_PROB) for table in tables]
        best = int(np.argmax([share @ best_blend(table, others, share) for table in finite]))
        density = fit_steps(mapped[best].z[:, 0], fit.data.sample_weight)
        transformed, prior = TransformedDensity(mapped[best].preprocessor, density), fit.options.prior_samples
        return [Component("steps", transformed, tables[best], "steps", prior_samples=prior)]


def out_of_fold_steps(fit: ComponentFit, mapped: MappedData) -> np.ndarray:
    """Log-densities of the samples of the validation folds under trees that were fitted without them."""
    held_out = []
    for fold in fit.left_out_together:
        train = fit.data.without(fold)
        held_out.append(mapped.log_prob_left_out(fit_steps(mapped.z[train, 0], fit.data.sample_weight[train]), fold))
    return np.concatenate(held_out)
