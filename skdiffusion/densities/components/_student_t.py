"""The Student-t of all features, which bounds what a far sample can cost the blend."""

from __future__ import annotations

from functools import partial

import numpy as np

from skdiffusion._utils.parallel import side_by_side
from skdiffusion.densities import Component, TransformedDensity, fit_student_t
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit
from skdiffusion.preprocessing import Preprocessor, without_logarithms


class StudentTFamily(ComponentFamily):
    """One Student-t, without a feature transform and without logarithms; it always keeps some weight.

    Behind a logarithm its samples would have no mean: a few of them would be farther away than all others together.
    """

    indispensable = True

    def fit(self, fit: ComponentFit) -> list[Component]:
        data, plain, w = fit.data, fit.spaces.plain, fit.data.sample_weight
        first = without_logarithms(plain.first)
        preprocessor = plain if first == plain.first else Preprocessor(data.X, w, None, data.bounds, first)
        mapped = data.mapped(preprocessor)

        def held_out(fold: np.ndarray) -> np.ndarray:
            train = data.without(fold)
            return mapped.log_prob_left_out(fit_student_t(mapped.z[train], w[train]), fold)

        folds = [partial(held_out, fold) for fold in fit.left_out_together]
        density, *log_prob = side_by_side([partial(fit_student_t, mapped.z, w), *folds])
        transformed = TransformedDensity(mapped.preprocessor, density)
        min_weight = fit.options.min_student_weight
        return [Component("student", transformed, np.concatenate(log_prob), "student", min_weight=min_weight)]
