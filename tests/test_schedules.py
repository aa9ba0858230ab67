"""Noise schedules: round trips, derivatives and what each process preserves."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdiffusion.diffusion.schedules import PROCESSES, VP, resolve_process

TIMES = np.linspace(0.01, 0.99, 30)
processes = pytest.mark.parametrize("process", [cls() for cls in PROCESSES.values()], ids=list(PROCESSES))


@processes
def test_time_is_recovered_from_every_description_of_the_noise(process):
    assert_allclose(process.ratio_to_time(process.ratio(TIMES)), TIMES, rtol=1e-12)
    assert_allclose(process.log_snr_to_time(process.log_snr(TIMES)), TIMES, rtol=1e-12)
    assert_allclose(process.angle_to_time(process.angle(TIMES)), TIMES, rtol=1e-11)


@processes
def test_noise_starts_at_zero_and_the_ratio_rises(process):
    assert process.sigma(0.0) == 0.0
    assert process.alpha(0.0) == 1.0
    assert (np.diff(process.ratio(TIMES)) > 0).all()
    assert_allclose(process.log_snr(TIMES), -2 * np.log(process.ratio(TIMES)), rtol=1e-12, atol=1e-12)


@processes
def test_derivatives_are_those_of_the_scales(process):
    h = 1e-6
    assert_allclose(
        process.d_alpha(TIMES), (process.alpha(TIMES + h) - process.alpha(TIMES - h)) / (2 * h), rtol=1e-6, atol=1e-8
    )
    assert_allclose(
        process.d_sigma(TIMES), (process.sigma(TIMES + h) - process.sigma(TIMES - h)) / (2 * h), rtol=1e-6, atol=1e-8
    )


def test_variance_preserving_processes_preserve_or_lose_variance():
    vp, subvp = PROCESSES["vp"](), PROCESSES["subvp"]()
    assert_allclose(vp.alpha(TIMES) ** 2 + vp.sigma(TIMES) ** 2, 1.0, rtol=1e-14)
    assert (subvp.alpha(TIMES) ** 2 + subvp.sigma(TIMES) ** 2 < 1.0).all()


def test_a_process_is_an_immutable_value():
    assert VP(0.1, 20.0) == VP()
    with pytest.raises(AttributeError):
        VP().beta_min = 1.0


def test_unknown_process_names_the_choices():
    with pytest.raises(ValueError, match="'process' parameter must be one of .*subvp.*Got 'ddpm'"):
        resolve_process("ddpm")
