"""The Student-t of all features, which bounds what a far sample can cost the blend."""

from __future__ import annotations

import numpy as np

from skdiffusion.densities import Component, TransformedDensity, fit_student_t
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit


class StudentTFamily(ComponentFamily):
    """One Student-t, without a feature transform; it always keeps some weight."""

    def fit(self, fit: ComponentFit) -> list[Component]:
        mapped, w = fit.data.mapped(fit.spaces.plain), fit.data.sample_weight
        held_out = []
        for fold in fit.left_out_together:
            train = fit.data.without(fold)
            held_out.append(mapped.log_prob_left_out(fit_student_t(mapped.z[train], w[train]), fold))
        transformed = TransformedDensity(mapped.preprocessor, fit_student_t(mapped.z, w))
        min_weight = fit.options.min_student_weight
        return [Component("student", transformed, np.concatenate(held_out), "student", min_weight=min_weight)]
