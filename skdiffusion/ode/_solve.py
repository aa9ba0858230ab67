"""One driver for every stepper, in either direction, with or without the log-density."""

import math
from dataclasses import dataclass

from skdiffusion.ode._steppers import STEPPERS, interpolation_weights


@dataclass
class Solution:
    """End of a flow.

    Attributes
    ----------
    z : array or tensor of shape (n, d)
        Rows at the last angle.
    log_density_change : array or tensor of shape (n,), or None
        log p at the last angle and row minus log p at the first, along each path, in nats.
    error : array or tensor of shape (n,), or None
        With "rk4" and the divergence, the sum over steps of the absolute gap between Simpson's rule and
        the trapezoid of its ends: free, and large where a row's step is too long.
    n_evaluations : int
        Evaluations of the field.
    """

    z: object
    log_density_change: object
    error: object
    n_evaluations: int


class _CountedField:
    def __init__(self, field, divergence):
        self.field, self.divergence, self.count = field, divergence, 0

    def velocity(self, z, theta):
        """(-F, div F): the slopes of z and of the log-density in theta."""
        self.count += 1
        velocity, trace = self.field(z, theta, self.divergence)
        return -velocity, trace

    def denoised(self, z, theta):
        """(D, tr dD/dy) in y = z / cos(theta)."""
        self.count += 1
        velocity, trace = self.field(z, theta, self.divergence)
        cos, sin = math.cos(theta), math.sin(theta)
        jacobian = None if trace is None else cos * (cos * z.shape[1] + sin * trace)
        return cos * z + sin * velocity, jacobian

    def score(self, z, theta):
        """(score, its divergence) in y = z / cos(theta)."""
        self.count += 1
        velocity, trace = self.field(z, theta, self.divergence)
        cos, sin = math.cos(theta), math.sin(theta)
        divergence = None if trace is None else -(cos**2) * (sin * z.shape[1] - cos * trace) / sin
        return -cos * (sin * z - cos * velocity) / sin, divergence


def _add(total, step, slope):
    return None if slope is None else total + step * slope


def _heun(field, z, log_p, s, t):
    h = t - s
    k1, q1 = field.velocity(z, s)
    k2, q2 = field.velocity(z + h * k1, t)
    return z + h / 2 * (k1 + k2), _add(log_p, h / 2, None if q1 is None else q1 + q2), (k1, q1), None


def _rk4(field, z, log_p, s, t):
    h, m = t - s, (s + t) / 2
    k1, q1 = field.velocity(z, s)
    k2, q2 = field.velocity(z + h / 2 * k1, m)
    k3, q3 = field.velocity(z + h / 2 * k2, m)
    k4, q4 = field.velocity(z + h * k3, t)
    moved = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    if q1 is None:
        return moved, None, (k1, q1), None
    gap = abs(h / 3 * (q2 + q3 - q1 - q4))
    return moved, log_p + h / 6 * (q1 + 2 * q2 + 2 * q3 + q4), (k1, q1), gap


def _exponential_heun(field, z, log_p, s, t):
    cos_s, cos_t = math.cos(s), math.cos(t)
    ratio = math.tan(t) / math.tan(s)
    h = -math.log(ratio)
    psi0, y = -math.expm1(-h), z / cos_s
    psi1 = h - psi0
    d1, q1 = field.denoised(z, s)
    end = ratio * y + psi0 * d1
    d2, q2 = field.denoised(end * cos_t, t)
    y = end + psi1 / h * (d2 - d1)
    if q1 is not None:
        d = z.shape[1]
        log_p = log_p + h * (d - (q1 + q2) / 2) - d * math.log(cos_t / cos_s)
    return y * cos_t, log_p, (d1, q1), None


def _multistep(stepper, z, log_p, s, t, past_nodes, past):
    """One step from s to t with the values at `past_nodes`, newest first; past holds (value, trace)."""
    d = z.shape[1]
    if stepper.frozen == "velocity":
        weights = interpolation_weights(past_nodes, s, t, exponential=False)
        z = z + sum(w * value for w, (value, _) in zip(weights, past))
        if log_p is not None:
            log_p = log_p + sum(w * trace for w, (_, trace) in zip(weights, past))
        return z, log_p
    cos_s, cos_t = math.cos(s), math.cos(t)
    tau_s, tau_t = math.tan(s), math.tan(t)
    if stepper.frozen == "score":
        value, trace = past[0]
        y = z / cos_s + (1 / cos_s) * (1 / cos_s - 1 / cos_t) * value
        change = None if trace is None else (tau_t**2 - tau_s**2) / 2 * trace
    else:
        nodes = [-math.log(math.tan(node)) for node in past_nodes]
        start, stop = -math.log(tau_s), -math.log(tau_t)
        weights = interpolation_weights(nodes, start, stop, exponential=True)
        y = tau_t / tau_s * z / cos_s + sum(w * value for w, (value, _) in zip(weights, past))
        change = None
        if log_p is not None:
            plain = interpolation_weights(nodes, start, stop, exponential=False)
            change = d * (stop - start) - sum(w * trace for w, (_, trace) in zip(plain, past))
    if log_p is not None:
        log_p = log_p + change - d * math.log(cos_t / cos_s)
    return y * cos_t, log_p


def solve(field, z, thetas, stepper="rk4", divergence=False):
    """Follow the flow of `field` from the first angle to the last.

    Parameters
    ----------
    field : callable
        ``field(z, theta, divergence) -> (velocity (n, d), divergence (n,) or None)``.
    z : array or tensor of shape (n, d)
        Rows at ``thetas[0]``, in normalised coordinates.
    thetas : sequence of float
        Monotone angles in (0, pi / 2): rising towards noise, falling towards data.
    stepper : str
        A key of `STEPPERS`.
    divergence : bool
        Whether to carry the log-density.

    Returns
    -------
    Solution
    """
    if stepper not in STEPPERS:
        raise ValueError(f"The 'stepper' must be one of {sorted(STEPPERS)}. Got {stepper!r} instead.")
    rule = STEPPERS[stepper]
    counted = _CountedField(field, divergence)
    thetas = [float(t) for t in thetas]
    log_p = 0.0 * z[:, 0] if divergence else None
    error = None
    single = {"heun": _heun, "rk4": _rk4, "exponential-heun": _exponential_heun}
    if rule.multistep:
        evaluate = getattr(counted, rule.frozen)
        nodes, past = [], []
        for s, t in zip(thetas[:-1], thetas[1:]):
            nodes, past = [s, *nodes][: rule.order], [evaluate(z, s), *past][: rule.order]
            if len(past) < rule.order:
                # One-step methods of sufficient order start a multistep one.
                start = _heun if rule.order == 2 else _rk4
                z, log_p, _, _ = start(counted, z, log_p, s, t)
            else:
                z, log_p = _multistep(rule, z, log_p, s, t, nodes, past)
    else:
        step = single[stepper]
        for s, t in zip(thetas[:-1], thetas[1:]):
            z, log_p, _, gap = step(counted, z, log_p, s, t)
            if gap is not None:
                error = gap if error is None else error + gap
    return Solution(z, log_p, error, counted.count)
