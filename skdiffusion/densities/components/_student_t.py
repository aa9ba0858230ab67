"""The Student-t of all features, which bounds what a far sample can cost the blend."""

from __future__ import annotations

from functools import partial

import numpy as np

from skdiffusion._utils.parallel import side_by_side
from skdiffusion.densities import Component, TransformedDensity, fit_student_t
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit


class StudentTFamily(ComponentFamily):
    """One Student-t, without a feature transform; it always keeps some weight."""

    def fit(self, fit: ComponentFit) -> list[Component]:
        mapped, w = fit.data.mapped(fit.spaces.plain), fit.data.sample_weight

        def held_out(fold: np.ndarray) -> np.ndarray:
            train = fit.data.without(fold)
            return mapped.log_prob_left_out(fit_student_t(mapped.z[train], w[train]), fold)

        folds = [partial(held_out, fold) for fold in fit.left_out_together]
        density, *log_prob = side_by_side([partial(fit_student_t, mapped.z, w), *folds])
        transformed = TransformedDensity(mapped.preprocessor, density)
        min_weight = fit.options.min_student_weight
        return [Component("student", transformed, np.concatenate(log_prob), "student", min_weight=min_weight)]
