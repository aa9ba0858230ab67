"""Sizes, steps and members chosen from the shape of the data. benchmarks/ablation.py measures what each is worth."""

from dataclasses import dataclass, replace
from numbers import Integral, Real

import numpy as np

from skdiffusion.diffusion.training import FineTuningPlan, TrainingPlan

SIGMA_MIN, SIGMA_MAX = 0.01, 20.0  # noise levels of training, in whitened standard deviations
TUNING_STEPS = FineTuningPlan.n_steps  # of fine-tuning by the exact likelihood


@dataclass(frozen=True)
class Settings:
    """Everything that "auto" stands for, once n and d are known."""

    hidden_layer_sizes: tuple  # or a list of such tuples, one for each interval
    n_members: int
    n_steps: int
    batch_size: int
    n_references: int
    learning_rate: float
    input_gain: float
    hidden_gain: float
    noise_mean: float
    patience: int
    weight_decay: float = 1e-4
    n_pilot_steps: int = 250
    n_tuning_steps: int = 0
    n_folds: int = 8
    edges: tuple = ()  # angles between the intervals of noise levels


def default_settings(n, d):
    """Settings for n samples (effective) and d features."""
    # Wider networks cost a fifth to a quarter more, and gain nothing on most sets of 2000 or 10000 samples.
    hidden, n_members, n_steps, batch_size, learning_rate, n_pilot_steps = (96, 96), 4, 1000, 512, 1e-2, 250
    if d == 2:
        # Sharp edges want steps, a third layer, whose divergence is cheap in few features, and targets of little noise.
        hidden, n_steps, batch_size, n_pilot_steps = (48, 48, 48), 2000, 256, 500
        if n >= 5000:
            hidden, n_steps, batch_size = (64, 64, 64), 3000, 512
    elif d == 1:
        # What is left there is the kernel component's.
        n_members, n_steps, batch_size, learning_rate, n_pilot_steps = 2, 1500, 256, 5e-3, 375
    elif n >= 5000:
        n_steps, n_pilot_steps = 4000, 500
    if n >= 20_000 and d != 2:
        hidden = (128, 128)
    if n < 1000:
        # Variance rules: many small members.
        hidden = (48, 48, 48) if d == 2 else (64, 64)
        n_members, n_steps, batch_size, learning_rate, n_pilot_steps = 8, 800, 256, 5e-3, 200
    if n <= 150:
        hidden, n_steps, batch_size, n_pilot_steps = (32, 32), 300, 128, 75
    return Settings(
        hidden_layer_sizes=hidden,
        n_members=n_members,
        n_steps=n_steps,
        batch_size=batch_size,
        n_references=2048 if d == 2 else 512 if d <= 8 else 0,
        learning_rate=learning_rate,
        input_gain=4.0 if d <= 2 else 2.0 if d < 10 else 1.0,
        hidden_gain=1.2,
        noise_mean=-1.8 if d <= 2 else -1.2,
        patience=max(300, int(0.4 * n_steps)),
        n_pilot_steps=n_pilot_steps,
        # The more features there are and the fewer samples, the more there is to learn by heart; edges take large weights.
        weight_decay=min(0.3, d * (200 / n) ** 2) if d > 2 else 1e-4,
        # With fewer samples members learn theirs by heart; in the plane there is nothing left to gain.
        n_tuning_steps=TUNING_STEPS if n >= 5000 and d > 2 else 0,
    )


def layer_sizes(hidden_layer_sizes, n_intervals=1):
    """A tuple of ints, a list of such tuples, one for each interval, or None for "auto".

    Raises
    ------
    ValueError
        If the sizes are not positive integers, or not those of as many intervals.
    """
    if isinstance(hidden_layer_sizes, str):
        return None
    wrong = (
        "The 'hidden_layer_sizes' parameter must be 'auto', a tuple of positive integers, or a list of such tuples, "
        f"one for each of the 'n_intervals'. Got {hidden_layer_sizes!r} instead."
    )

    def checked(sizes):
        sizes = np.atleast_1d(np.asarray(sizes, dtype=object))
        if sizes.ndim != 1 or not len(sizes) or not all(isinstance(s, Integral) and s > 0 for s in sizes):
            raise ValueError(wrong)
        return tuple(int(s) for s in sizes)

    if not isinstance(hidden_layer_sizes, (list, tuple)) or not any(
        isinstance(s, (list, tuple)) for s in hidden_layer_sizes
    ):
        return checked(hidden_layer_sizes)
    if len(hidden_layer_sizes) != n_intervals:
        raise ValueError(wrong)
    return [checked(sizes) for sizes in hidden_layer_sizes] if n_intervals > 1 else checked(hidden_layer_sizes[0])


def check_intervals(n_intervals):
    """Number of noise intervals, and the times between them, or None where they are derived."""
    if isinstance(n_intervals, Integral):
        return int(n_intervals), None
    times = np.asarray(n_intervals, dtype=object)
    if times.ndim != 1 or not all(isinstance(t, Real) and 0 < t < 1 for t in times) or (np.diff(times) <= 0).any():
        raise ValueError(
            "The 'n_intervals' parameter must be a positive integer, or the times between the intervals, rising in "
            f"(0, 1). Got {n_intervals!r} instead."
        )
    return len(times) + 1, times.astype(float)


def interval_edges(n_intervals, theta_min, theta_max, process):
    """Angles between the intervals of noise levels; a number of them share the log noise level equally."""
    count, times = check_intervals(n_intervals)
    if times is None:
        levels = np.linspace(np.log(np.tan(theta_min)), np.log(np.tan(theta_max)), count + 1)
        return tuple(np.arctan(np.exp(levels[1:-1])))
    edges = process.angle(times)
    if (edges <= theta_min).any() or (edges >= theta_max).any():
        raise ValueError(
            "The times of 'n_intervals' must lie between 't_min' and the horizon. Got "
            f"{n_intervals!r}, with the flow from {float(process.angle_to_time(theta_min)):.3g} to "
            f"{float(process.angle_to_time(theta_max)):.3g}."
        )
    return tuple(float(e) for e in edges)


def resolve_settings(est, n, d, network=None):
    """The settings that the parameters of an estimator ask for; those of an earlier network are kept."""
    given = {}
    if network is not None:
        given = {"hidden_layer_sizes": network.hidden_layer_sizes, "n_members": network.n_members}
    if (sizes := layer_sizes(est.hidden_layer_sizes, check_intervals(est.n_intervals)[0])) is not None:
        given["hidden_layer_sizes"] = sizes
    asked = {
        "n_members": est.n_estimators,
        "batch_size": est.batch_size,
        "learning_rate": est.learning_rate,
        "patience": est.n_iter_no_change,
        "weight_decay": est.weight_decay,
    }
    given |= {name: value for name, value in asked.items() if value != "auto"}
    settings = replace(default_settings(n, d), **given)
    n_steps = settings.n_steps
    if est.max_iter != "auto":
        n_steps = int(np.ceil(est.max_iter * n / settings.batch_size))
        settings = replace(settings, n_pilot_steps=min(settings.n_pilot_steps, -(-n_steps // 4)))
        if est.learning_rate == "auto":
            # At the default's rate, runs of more than twice its steps can end in spikes of the loss.
            slower = min(1.0, np.sqrt(settings.n_steps / n_steps))
            settings = replace(settings, learning_rate=float(settings.learning_rate * slower))
    n_folds = min(n, max(settings.n_members, int(round(1 / est.validation_fraction))))
    n_tuning_steps = _tuning_steps(est, settings)
    return replace(
        settings, n_folds=n_folds, n_members=int(min(settings.n_members, n_folds)), n_steps=n_steps,
        n_tuning_steps=n_tuning_steps,
    )  # fmt: skip


def _tuning_steps(est, settings):
    """Steps of fine-tuning that the parameters ask for, and allow."""
    obstacles = {
        "n_intervals": check_intervals(est.n_intervals)[0] > 1,
        "hidden_layer_sizes": len(settings.hidden_layer_sizes) not in (2, 3),  # no closed-form divergence
        "score_clip": est.score_clip is not None,
        "n_nonzero_weights": est.n_nonzero_weights is not None,
        "weight_bound": est.weight_bound is not None,
    }
    found = [name for name, there in obstacles.items() if there]
    if isinstance(est.fine_tune, str):
        asked_otherwise = found or est.max_iter != "auto" or not est.early_stopping
        return 0 if asked_otherwise else settings.n_tuning_steps
    if est.fine_tune and found:
        raise ValueError(
            "fine_tune=True needs one interval of noise levels, two or three hidden layers and networks without "
            f"constraints: change {' and '.join(repr(name) for name in found)}, or set fine_tune='auto'."
        )
    return TUNING_STEPS if est.fine_tune else 0


def noise_limit(est, n):
    """Bound of the predicted noise that 'score_clip' asks for, or None."""
    if est.score_clip is None:
        return None
    constant = 2.0 if isinstance(est.score_clip, str) else est.score_clip
    return float(constant * np.sqrt(np.log(max(n, 2))))


def fine_tuning_plan(est, settings):
    """The plan of `skdiffusion.diffusion.training.fine_tune` for an estimator's parameters."""
    return FineTuningPlan(n_steps=settings.n_tuning_steps, weight_decay=settings.weight_decay)


def training_plan(est, settings, theta_min):
    """The plan of `skdiffusion.diffusion.training.train` for an estimator's parameters."""
    return TrainingPlan(
        n_steps=settings.n_steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        noise_mean=settings.noise_mean,
        sigma_range=(float(np.tan(theta_min)), SIGMA_MAX),
        n_target_samples=settings.n_references,
        patience=settings.patience if est.early_stopping else 0,
        keep_best=est.early_stopping,
        tol=est.tol,
        n_nonzero_weights=est.n_nonzero_weights,
        weight_bound=est.weight_bound,
    )
