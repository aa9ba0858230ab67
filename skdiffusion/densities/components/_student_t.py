"""The Student-t of all features, which bounds what a far sample can cost the blend."""

from __future__ import annotations

import numpy as np

from skdiffusion.densities import (
    Component,
    IncompleteSamples,
    StudentTDensity,
    TransformedDensity,
    fit_incomplete_student_t,
    fit_student_t,
)
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit
from skdiffusion.preprocessing import Preprocessor, without_logarithms

MAX_SAMPLES = 20_000  # that it is fitted to


class StudentTFamily(ComponentFamily):
    """One Student-t, without a feature transform and without logarithms; it always keeps some weight.

    Behind a logarithm its samples would have no mean: a few of them would be farther away than all others together. Of
    incomplete samples it is fitted to what is known.
    """

    indispensable = independent = True

    def fit(self, fit: ComponentFit) -> list[Component]:
        data, plain, w = fit.data, fit.spaces.plain, fit.data.sample_weight
        first = without_logarithms(plain.first)
        preprocessor = plain if first == plain.first else Preprocessor(data.X, w, None, data.bounds, first)
        if data.completed is not None:  # whitening would mix what is known with what is not
            preprocessor = preprocessor.unwhitened()
        mapped = data.mapped(preprocessor)

        def fitted(samples: np.ndarray) -> StudentTDensity:
            if data.completed is None:
                # More add nothing to a mean and a scale; evenly spaced ones draw no random numbers.
                some = samples[:: -(-len(samples) // MAX_SAMPLES)]
                return fit_student_t(mapped.z[some], w[some])
            some = data.first(samples)
            z = np.where(data.completed.known[some], mapped.z[some], np.nan)
            return fit_incomplete_student_t(IncompleteSamples(z, data.weights_of(some)))

        def held_out(fold: np.ndarray) -> np.ndarray:
            return mapped.log_prob_left_out(fitted(data.without(fold)), fold)

        density, log_prob = fitted(np.arange(data.n_samples)), [held_out(fold) for fold in fit.left_out_together]
        transformed = TransformedDensity(mapped.preprocessor, density)
        min_weight = fit.options.min_student_weight
        return [Component("student", transformed, np.concatenate(log_prob), "student", min_weight=min_weight)]
