r"""Noise schedules: the scales of signal and noise as functions of time, for each noising process.

A process adds noise to data by :math:`x_t = \alpha_t x_0 + \sigma_t \varepsilon` with
:math:`\varepsilon\sim N(0, I)`, from data at :math:`t = 0` to noise at :math:`t = 1`. After division by
:math:`\alpha_t` only the ratio :math:`\tau_t = \sigma_t / \alpha_t` is left, so all processes share one
probability-flow equation (:mod:`skdiffusion.diffusion.ode`). Every function accepts floats or numpy arrays.

Examples
--------
>>> from skdiffusion.diffusion.schedules import PROCESSES, VP
>>> sorted(PROCESSES)
['flow', 'subvp', 've', 'vp']
>>> process = VP()
>>> round(float(process.alpha(0.5) ** 2 + process.sigma(0.5) ** 2), 12)  # the variance stays
1.0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class Process:
    """Base of the noising processes, which give `alpha`, `sigma`, their derivatives and `ratio_to_time`."""

    def alpha(self, t: float | np.ndarray) -> np.ndarray:
        """Scale of the signal at time t."""
        raise NotImplementedError

    def sigma(self, t: float | np.ndarray) -> np.ndarray:
        """Scale of the noise at time t."""
        raise NotImplementedError

    def d_alpha(self, t: float | np.ndarray) -> np.ndarray:
        """Derivative of `alpha` with respect to t."""
        raise NotImplementedError

    def d_sigma(self, t: float | np.ndarray) -> np.ndarray:
        """Derivative of `sigma` with respect to t."""
        raise NotImplementedError

    def ratio_to_time(self, tau: float | np.ndarray) -> np.ndarray:
        """Time at which sigma / alpha equals tau."""
        raise NotImplementedError

    def ratio(self, t: float | np.ndarray) -> np.ndarray:
        """Noise-to-signal ratio tau = sigma / alpha; infinite where alpha vanishes."""
        with np.errstate(divide="ignore"):
            return np.divide(self.sigma(t), self.alpha(t))

    def log_snr(self, t: float | np.ndarray) -> np.ndarray:
        """Log signal-to-noise ratio log(alpha^2 / sigma^2)."""
        with np.errstate(divide="ignore"):
            return 2 * (np.log(self.alpha(t)) - np.log(self.sigma(t)))

    def log_snr_to_time(self, log_snr: float | np.ndarray) -> np.ndarray:
        """Time at which the log signal-to-noise ratio is `log_snr`: inverse of `log_snr`."""
        return self.ratio_to_time(np.exp(-np.asarray(log_snr, dtype=float) / 2))

    def angle(self, t: float | np.ndarray) -> np.ndarray:
        """Angle theta = arctan(sigma / alpha), in [0, pi / 2]: the time axis of the solvers."""
        return np.arctan2(self.sigma(t), self.alpha(t))

    def angle_to_time(self, theta: float | np.ndarray) -> np.ndarray:
        """Time at which arctan(sigma / alpha) equals theta: inverse of `angle`."""
        return self.ratio_to_time(np.tan(theta))


@dataclass(frozen=True)
class VP(Process):
    r"""Variance preserving: :math:`\alpha = e^{-B/2},\ \sigma^2 = 1 - e^{-B}`,
    :math:`B = \beta_{min} t + (\beta_{max} - \beta_{min}) t^2 / 2`.

    Parameters
    ----------
    beta_min, beta_max : float
        Rate of noising at t = 0 and t = 1. Raising `beta_max` moves the horizon further into noise.

    References
    ----------
    Song et al. (2021), Score-based generative modeling through stochastic differential equations, equation 11.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def _integral(self, t: float | np.ndarray) -> np.ndarray:
        t = np.asarray(t, dtype=float)
        return self.beta_min * t + (self.beta_max - self.beta_min) * t**2 / 2

    def _rate(self, t: float | np.ndarray) -> np.ndarray:
        return self.beta_min + (self.beta_max - self.beta_min) * np.asarray(t, dtype=float)

    def _integral_to_time(self, integral: np.ndarray) -> np.ndarray:
        slope = self.beta_max - self.beta_min
        # The root in this form stays accurate for small integrals and for equal betas.
        return 2 * integral / (self.beta_min + np.sqrt(self.beta_min**2 + 2 * slope * integral))

    def alpha(self, t: float | np.ndarray) -> np.ndarray:
        return np.exp(-self._integral(t) / 2)

    def sigma(self, t: float | np.ndarray) -> np.ndarray:
        return np.sqrt(-np.expm1(-self._integral(t)))

    def d_alpha(self, t: float | np.ndarray) -> np.ndarray:
        return -self._rate(t) / 2 * self.alpha(t)

    def d_sigma(self, t: float | np.ndarray) -> np.ndarray:
        return self._rate(t) / 2 * self.alpha(t) ** 2 / self.sigma(t)

    def ratio_to_time(self, tau: float | np.ndarray) -> np.ndarray:
        return self._integral_to_time(np.log1p(np.square(np.asarray(tau, dtype=float))))


@dataclass(frozen=True)
class SubVP(VP):
    r"""Sub-variance preserving: :math:`\alpha = e^{-B/2},\ \sigma = 1 - e^{-B}`.

    References
    ----------
    Song et al. (2021), equation 12.
    """

    def sigma(self, t: float | np.ndarray) -> np.ndarray:
        return -np.expm1(-self._integral(t))

    def d_sigma(self, t: float | np.ndarray) -> np.ndarray:
        return self._rate(t) * self.alpha(t) ** 2

    def ratio_to_time(self, tau: float | np.ndarray) -> np.ndarray:
        # alpha solves alpha^2 + tau alpha - 1 = 0, so alpha = exp(-asinh(tau / 2)).
        return self._integral_to_time(2 * np.arcsinh(np.asarray(tau, dtype=float) / 2))


@dataclass(frozen=True)
class VE(Process):
    r"""Variance exploding: :math:`\alpha = 1,\ \sigma = \sigma_{min}(r^t - 1),\ r = 1 + \sigma_{max}/\sigma_{min}`.

    A geometric schedule, shifted so that there is no noise at t = 0.

    Parameters
    ----------
    sigma_min : float
        Scale below which the schedule is linear in t.
    sigma_max : float
        Noise at t = 1, in units of the whitened data.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    @property
    def _log_ratio(self) -> float:
        return float(np.log1p(self.sigma_max / self.sigma_min))

    def alpha(self, t: float | np.ndarray) -> np.ndarray:
        return np.ones_like(np.asarray(t, dtype=float))

    def sigma(self, t: float | np.ndarray) -> np.ndarray:
        return self.sigma_min * np.expm1(self._log_ratio * np.asarray(t, dtype=float))

    def d_alpha(self, t: float | np.ndarray) -> np.ndarray:
        return np.zeros_like(np.asarray(t, dtype=float))

    def d_sigma(self, t: float | np.ndarray) -> np.ndarray:
        return self.sigma_min * self._log_ratio * np.exp(self._log_ratio * np.asarray(t, dtype=float))

    def ratio_to_time(self, tau: float | np.ndarray) -> np.ndarray:
        return np.log1p(np.asarray(tau, dtype=float) / self.sigma_min) / self._log_ratio


@dataclass(frozen=True)
class FlowPath(Process):
    r"""The straight path of flow matching: :math:`\alpha = 1 - t,\ \sigma = t`.

    References
    ----------
    Lipman et al. (2023), Flow matching for generative modeling; Liu, Gong, Liu (2023), Flow straight and fast.
    """

    def alpha(self, t: float | np.ndarray) -> np.ndarray:
        return 1 - np.asarray(t, dtype=float)

    def sigma(self, t: float | np.ndarray) -> np.ndarray:
        return np.asarray(t, dtype=float) * 1.0

    def d_alpha(self, t: float | np.ndarray) -> np.ndarray:
        return -np.ones_like(np.asarray(t, dtype=float))

    def d_sigma(self, t: float | np.ndarray) -> np.ndarray:
        return np.ones_like(np.asarray(t, dtype=float))

    def ratio_to_time(self, tau: float | np.ndarray) -> np.ndarray:
        tau = np.asarray(tau, dtype=float)
        return np.where(np.isinf(tau), 1.0, tau / (1 + np.where(np.isinf(tau), 0.0, tau)))


PROCESSES: dict[str, type[Process]] = {"vp": VP, "ve": VE, "subvp": SubVP, "flow": FlowPath}


def resolve_process(process: str | Process) -> Process:
    """The process that a name or an instance stands for; any other `process` is a ValueError."""
    if isinstance(process, Process):
        return process
    if isinstance(process, str) and process in PROCESSES:
        return PROCESSES[process]()
    raise ValueError(
        f"The 'process' parameter must be one of {sorted(PROCESSES)} or an instance of "
        f"skdiffusion.diffusion.schedules.Process. Got {process!r} instead."
    )
