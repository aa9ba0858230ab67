"""Sweeps of covariances on patterns of features against inverses of their blocks."""

import itertools

import numpy as np
import pytest

from skdiffusion.densities._sweeps import SweepPlan


def covariances(k, d):
    roots = np.random.default_rng(0).normal(size=(k, d, d))
    return roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(d)


@pytest.mark.parametrize("patterns", ["all", "some", "none", "complete"])
def test_sweeps_are_the_regression_of_absent_features_on_present_ones(patterns):
    d, k = 4, 3
    every = np.array(list(itertools.product([False, True], repeat=d)))
    present = {"all": every, "some": every[[9, 2, 14]], "none": every[:1], "complete": every[-1:]}[patterns]
    C, plan = covariances(k, d), SweepPlan(present)
    matrices, log_dets = plan.swept(C)
    for p, known in enumerate(present[plan.order]):
        o, u = np.flatnonzero(known), np.flatnonzero(~known)
        for c in range(k):
            inverse, across = np.linalg.inv(C[c][np.ix_(o, o)]), C[c][np.ix_(u, o)]
            expected = np.empty((d, d))
            expected[np.ix_(o, o)], expected[np.ix_(u, o)] = -inverse, across @ inverse
            expected[np.ix_(o, u)] = (across @ inverse).T
            expected[np.ix_(u, u)] = C[c][np.ix_(u, u)] - across @ inverse @ across.T
            np.testing.assert_allclose(matrices[:, :, p, c], expected, rtol=1e-11, atol=1e-11)
            assert log_dets[p, c] == pytest.approx(np.linalg.slogdet(C[c][np.ix_(o, o)])[1], abs=1e-12)


def test_sweeps_do_not_change_what_they_are_given():
    C = covariances(2, 3)
    before = C.copy()
    SweepPlan(np.ones((1, 3), bool)).swept(C)
    np.testing.assert_array_equal(C, before)
