"""One driver for every stepper, in either direction, with or without the log-density."""

import math
from dataclasses import dataclass

from skdiffusion.diffusion.ode._steppers import STEPPERS, interpolation_weights


@dataclass
class Solution:
    """End of a flow.

    Attributes
    ----------
    z : array or tensor of shape (n, d)
        Samples at the last angle.
    log_density_change : array or tensor of shape (n,), or None
        log p at the last angle and sample minus log p at the first, along each path, in nats.
    error : array or tensor of shape (n,), or None
        With the divergence and a stepper that can tell: the sum over steps of the absolute gap to another rule
        ("rk4": the trapezoid of the step's ends; multistep: the rule that also knows the value at its end). It is
        free, and large where a sample's step is too long.
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

    def drift(self, z, theta):
        """The slopes of z and of the log-density in lambda = -log tan(theta)."""
        slope, trace = self.velocity(z, theta)
        rate = -math.sin(theta) * math.cos(theta)
        return rate * slope, None if trace is None else rate * trace

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
    return z + h / 2 * (k1 + k2), _add(log_p, h / 2, None if q1 is None else q1 + q2), None


def _rk4(field, z, log_p, s, t):
    h, m = t - s, (s + t) / 2
    k1, q1 = field.velocity(z, s)
    k2, q2 = field.velocity(z + h / 2 * k1, m)
    k3, q3 = field.velocity(z + h / 2 * k2, m)
    k4, q4 = field.velocity(z + h * k3, t)
    moved = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    if q1 is None:
        return moved, None, None
    gap = abs(h / 3 * (q2 + q3 - q1 - q4))
    return moved, log_p + h / 6 * (q1 + 2 * q2 + 2 * q3 + q4), gap


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
    return y * cos_t, log_p, None


def _multistep(rule, z, log_p, s, t, nodes, past):
    """One step from s to t with the (value, trace) pairs in `past` at `nodes`, newest first."""
    d = z.shape[1]
    if rule.frozen == "score":
        cos_s, cos_t = math.cos(s), math.cos(t)
        value, trace = past[0]
        y = z / cos_s + (1 / cos_s) * (1 / cos_s - 1 / cos_t) * value
        if log_p is not None:
            log_p = log_p + (math.tan(t) ** 2 - math.tan(s) ** 2) / 2 * trace - d * math.log(cos_t / cos_s)
        return y * cos_t, log_p
    denoised = rule.frozen == "denoised"
    coordinates, start, stop = _coordinates(rule, nodes, s, t)
    weights = interpolation_weights(coordinates, start, stop, exponential=denoised)
    moved = sum(w * value for w, (value, _) in zip(weights, past))
    if log_p is not None:
        traced = _integrated_trace(coordinates, start, stop, past)
    if not denoised:
        return z + moved, None if log_p is None else log_p + traced
    cos_s, cos_t = math.cos(s), math.cos(t)
    if log_p is not None:
        log_p = log_p + d * (stop - start) - traced - d * math.log(cos_t / cos_s)
    return (math.exp(start - stop) * z / cos_s + moved) * cos_t, log_p


def _coordinates(rule, nodes, s, t):
    """Nodes, start and end of a step in the variable of the method."""
    if not rule.in_log_snr:
        return tuple(nodes), s, t
    start, stop, *nodes = (-math.log(math.tan(theta)) for theta in (s, t, *nodes))
    return tuple(nodes), start, stop


def _integrated_trace(coordinates, start, stop, past):
    weights = interpolation_weights(coordinates, start, stop, exponential=False)
    return sum(w * trace for w, (_, trace) in zip(weights, past))


def _missed(rule, s, t, nodes, past):
    """What a step from s to t missed of the log-density, by the value now known at its end, the newest of `past`."""
    coordinates, start, stop = _coordinates(rule, nodes, s, t)
    within = _integrated_trace(coordinates[: rule.order], start, stop, past)
    return abs(within - _integrated_trace(coordinates[1:], start, stop, past[1:]))


def _add_gap(total, more):
    return total if more is None else more if total is None else total + more


def _solve_multistep(rule, field, z, log_p, thetas):
    evaluate, error = getattr(field, rule.frozen), None
    first, nodes, past = (z, log_p), [], []
    for k, (s, t) in enumerate(zip(thetas[:-1], thetas[1:])):
        nodes, past = [s, *nodes], [evaluate(z, s), *past]
        if k and rule.estimates_error and log_p is not None:
            error = _add_gap(error, _missed(rule, thetas[k - 1], s, nodes, past))
        nodes, past = nodes[: rule.order], past[: rule.order]
        if 0 < k < rule.order:
            # The first steps had few values: each is done again through all that are known by now, which
            # costs no evaluation and keeps the order.
            z, log_p = first
            for before, after in zip(thetas[:k], thetas[1:]):
                z, log_p = _multistep(rule, z, log_p, before, after, nodes, past)
        z, log_p = _multistep(rule, z, log_p, s, t, nodes, past)
    return Solution(z, log_p, error, field.count)


def _solve_by_interval(field, z, thetas, stepper, divergence):
    within = [t for t in field.edges if min(thetas) < t < max(thetas)]
    missing = [t for t in within if t not in thetas]
    if missing:
        raise ValueError(f"The angles {missing}, at which the field switches, must be among 'thetas'.")
    cuts = sorted({0, len(thetas) - 1, *map(thetas.index, within)})
    change, error, count = None, None, 0
    for first, last in zip(cuts[:-1], cuts[1:]):
        piece = thetas[first : last + 1]
        part = solve(field.at((piece[0] + piece[-1]) / 2), z, piece, stepper, divergence)
        z, count = part.z, count + part.n_evaluations
        change = _add_gap(change, part.log_density_change)
        error = _add_gap(error, part.error)
    return Solution(z, change, error, count)


def solve(field, z, thetas, stepper="rk4", divergence=False):
    """Follow the flow of `field` from the first angle to the last.

    Parameters
    ----------
    field : callable
        ``field(z, theta, divergence) -> (velocity (n, d), divergence (n,) or None)``.
    z : array or tensor of shape (n, d)
        Samples at ``thetas[0]``, in normalized coordinates.
    thetas : sequence of float
        Monotone angles in (0, pi / 2): rising towards noise, falling towards data.
    stepper : str
        A key of `STEPPERS`.
    divergence : bool
        Whether to carry the log-density.

    Returns
    -------
    Solution

    Notes
    -----
    A field that switches networks has `edges`, angles that must be among `thetas`, and ``at(theta)``, the field of one
    interval: every interval is solved by itself, so that multistep methods start anew at its edge.
    """
    if stepper not in STEPPERS:
        raise ValueError(f"The 'stepper' must be one of {sorted(STEPPERS)}. Got {stepper!r} instead.")
    if len(getattr(field, "edges", ())):
        return _solve_by_interval(field, z, [float(t) for t in thetas], stepper, divergence)
    rule = STEPPERS[stepper]
    counted = _CountedField(field, divergence)
    thetas = [float(t) for t in thetas]
    log_p = 0.0 * z[:, 0] if divergence else None
    if rule.multistep:
        return _solve_multistep(rule, counted, z, log_p, thetas)
    error, step = None, {"heun": _heun, "rk4": _rk4, "exponential-heun": _exponential_heun}[stepper]
    for s, t in zip(thetas[:-1], thetas[1:]):
        z, log_p, gap = step(counted, z, log_p, s, t)
        error = _add_gap(error, gap)
    return Solution(z, log_p, error, counted.count)
