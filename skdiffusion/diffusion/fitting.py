"""The stages of a fit, as functions of arrays: folds, map, training, steps, warnings."""

import warnings
from dataclasses import replace

import numpy as np
import torch

from skdiffusion.densities import (
    FEATURE_TRANSFORMS,
    Component,
    averaging_gain,
    blend_log_density,
    blend_weights,
    select_feature_transforms,
)
from skdiffusion.diffusion.flow import MAX_STEPS, ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, GaussianReference, NetworkField, SwitchedNetworks
from skdiffusion.diffusion.training import fine_tune, train_intervals
from skdiffusion.exceptions import DegenerateDataWarning, InterruptedFitWarning
from skdiffusion.manifold import PLATEAU, TANGENT, dimension_spectrum
from skdiffusion.preprocessing import (
    TrainingData,
    bounds_with_margins,
    dequantize,
    feature_resolution,
)

MAX_VALIDATION = (
    2500  # samples of a fold: more decide nothing that these do not, and each costs every candidate its density
)
GAIN_CAP = 1.0  # nats; averaging cannot be relied on for more
FIRST_DENSITY_STEPS, FIRST_SAMPLE_STEPS = 16, 12  # where the search for a number of steps starts
VALIDATION_SAMPLES = 400  # held-out samples of a member that judge its fine-tuning
VALIDATION_STEPS = 32  # of fourth order: finer than any step of the fine-tuning, whose errors must not count
RIVAL_GAP = 0.2  # nats a feature by which closed forms must prefer a map to settle the matter


def make_folds(w, n_folds, rng):
    """Disjoint random folds of samples of these weights, by sample and never by copy; of many samples some are in none."""
    n = len(w)
    most = round(MAX_VALIDATION * n * (w @ w) / w.sum() ** 2)  # uneven weights take more samples to be worth as much
    return [np.sort(f[:most]) for f in np.array_split(rng.permutation(n), min(n_folds, n))]


def feature_transform_candidates(X, w, folds, rng, bounds, marginals):
    """Marginal maps worth a network: the one asked for, or the best of the candidates by closed forms.

    No map at all is a second candidate where it is not far behind: a map that helps a mixture can bend
    what a network would have learnt easily.
    """
    if marginals not in ("auto", "gaussianize"):
        return [marginals]
    candidates = FEATURE_TRANSFORMS
    if marginals == "gaussianize":
        candidates = tuple(c for c in FEATURE_TRANSFORMS if isinstance(c, float))
    if len(X) < 8:
        return [candidates[0]]
    data = TrainingData(X, w, tuple(folds[: 2 if len(X) > 600 else 4]), 0, bounds, rng)
    scores = select_feature_transforms(data, candidates)
    best = max(scores, key=scores.get)
    rival = candidates[0]
    return [best] if best == rival or scores[best] - scores[rival] > RIVAL_GAP * X.shape[1] else [best, rival]


def choose_coordinates(X, w, preprocessors, folds, settings, plan, activation, device, rng):
    """The preprocessor, and the distribution of the samples before noise, with which short training runs reach most.

    Noise may be isotropic in whitened coordinates, which serves structure in directions of little variance, or in
    features of unit variance, which lets these drown first; there networks may learn all of the velocity or its
    departure from the Gaussian's.

    Returns
    -------
    preprocessor : Preprocessor
    reference : GaussianReference or None
        None for noise that is isotropic in whitened coordinates.
    """
    # The average of a few members on samples that none of them has seen, as in the whole fit.
    seen, held = (folds[2:], folds[:2]) if len(folds) > 2 else (folds[1:], folds[:1])
    members = min(settings.n_members, 4 if len(X) < 1000 else 2)
    settings = replace(settings, n_members=members)
    # Too short to learn samples by heart: no weight decay.
    short = {"n_steps": settings.n_pilot_steps, "batch_size": 256, "learning_rate": 5e-3, "weight_decay": 0.0}
    plan = replace(plan, **short, n_references=0, monitor=None)
    seen, held, known = np.concatenate(seen), np.concatenate(held), {}
    theta = [float(np.arctan(sigma)) for sigma in plan.sigma_range]

    def score(option):
        preprocessor, reference = option
        if option not in known:
            z, _ = preprocessor.transform(X)
            unseen, log_det = preprocessor.transform_left_out(X, w)
            network = new_network(X.shape[1], settings, activation, device, rng)
            result = _train(z, w, network, [seen] * members, [held] * members, plan, reference, rng)
            if result.interrupted:
                raise KeyboardInterrupt  # nothing worth keeping yet
            flow = ProbabilityFlow(NetworkField(result.network, None, reference), *theta)
            density = flow.log_prob(unseen[held]) + log_det[held]
            # As in the blend, a single far sample must not decide.
            floor = np.median(density) - 20.0 - 2.0 * X.shape[1]
            known[option] = np.average(np.maximum(density, floor), weights=w[held])
        return known[option]

    def best(options):
        return options[0] if len(options) == 1 else max(options, key=score)

    preprocessor, _ = best([(p, None) for p in preprocessors])
    return best([(preprocessor, reference) for reference in [None, *references(preprocessor.whitening)]])


def references(whitening):
    """The distributions before noise in features of unit variance; none where these are hardly correlated."""
    if not whitening.is_correlated():
        return []
    return [GaussianReference(whitening.correlation, relative) for relative in (False, True)]


def new_network(d, settings, activation, device, rng):
    """Untrained members, one ensemble for each interval of noise levels."""
    sizes = settings.hidden_layer_sizes
    sizes = sizes if isinstance(sizes, list) else [sizes] * (len(settings.edges) + 1)
    parts = []
    for widths in sizes[: len(settings.edges) + 1]:
        part = FilmEnsemble(d, widths, activation, settings.n_members, torch.float32, device)
        part.initialize(rng, settings.input_gain, settings.hidden_gain)
        parts.append(part)
    return SwitchedNetworks(parts, settings.edges) if settings.edges else parts[0]


def _train(z, w, network, training, held_out, plan, reference, rng):
    """`train_intervals` on whitened samples z, in the coordinates of the reference if there is one."""
    if reference is not None:
        z, plan = z @ reference.root, replace(plan, reference=reference if reference.relative else None)
    samples = torch.as_tensor(z, dtype=torch.float32, device=network.device)
    return train_intervals(network, samples, w, training, held_out, plan, rng)


def train_network(z, w, folds, settings, plan, activation, device, rng, reference, initial=None):
    """Train one member per scored fold on the samples outside it."""
    if initial is None:
        network = new_network(z.shape[1], settings, activation, device, rng)
    else:
        network = initial.copy(torch.float32, device)
    held_out = [folds[m % len(folds)] for m in range(settings.n_members)]
    training = [np.setdiff1d(np.arange(len(z)), h) for h in held_out]
    return _train(z, w, network, training, held_out, plan, reference, rng)


def train_more(z, w, field, plan, rng):
    """Continue all members of a field's network on new samples, without held-out ones."""
    everything = [np.arange(len(z))] * field.network.n_members
    network = field.network.copy(torch.float32, field.network.device)
    return _train(z, w, network, everything, [], plan, field.reference, rng)


def fine_tune_network(flow, z, unseen, log_det, w, folds, components, plan, rng):
    """Raise the exact likelihood of the members of a flow as long as the blend gains on held-out samples.

    Parameters
    ----------
    flow : ProbabilityFlow
    z, unseen : arrays of shape (n, d)
        Whitened samples, and the same by maps that have not seen them, with `log_det` of shape (n,).
    w : array of shape (n,)
        Sample weights.
    folds, components, plan, rng : as elsewhere in the fit

    Returns
    -------
    TrainingResult
    """
    scored = folds[: flow.field.network.n_members]
    training = [np.setdiff1d(np.arange(len(z)), fold) for fold in scored]
    judged, places, start = [], [], 0
    for fold in scored:
        local = np.sort(rng.permutation(len(fold))[:VALIDATION_SAMPLES])
        judged.append(fold[local])
        places.append(start + local)
        start += len(fold)
    samples, places = np.concatenate(judged), np.concatenate(places)
    rivals = [replace(c, held_out_log_prob=c.held_out_log_prob[places]) for c in components]
    judge_flow = replace(flow, stepper="ab4", density_steps=VALIDATION_STEPS, grid=None)

    def judge(network):
        tuned = replace(judge_flow, field=flow.field.with_network(network))
        density = held_out_flow(unseen, log_det, tuned, judged)
        # A single far sample must not decide: the blend's heavy tail sees to that, or a floor where there is none.
        floor = np.median(density) - 20.0 - 2.0 * z.shape[1]
        ours = density if rivals else np.maximum(density, floor)
        stack = [Component("diffusion", flow, ours, "diffusion"), *rivals]
        table = np.stack([c.held_out_log_prob for c in stack], 1)
        return float(np.average(blend_log_density(table, blend_weights(stack, w[samples])), weights=w[samples]))

    return fine_tune(flow, z, w, training, judge, plan, rng)


def choose_sample_steps(flow, noise, error_limit=0.02):
    """Double the sampling steps until samples move by less than `error_limit` standard deviations (RMS)."""
    flow = replace(flow, sample_steps=FIRST_SAMPLE_STEPS)
    current = flow.draw(noise)
    while flow.sample_steps < MAX_STEPS:
        doubled = replace(flow, sample_steps=2 * flow.sample_steps)
        finer = doubled.draw(noise)
        if np.sqrt(((finer - current) ** 2).mean()) < error_limit:
            break
        flow, current = doubled, finer
    return flow


def choose_steps(flow, z, wide, mass_limit=5e-4, error_limit=0.01):
    """The density steps that are cheapest on held-out samples, of those that leave them and the total mass stable.

    Parameters
    ----------
    flow : ProbabilityFlow
    z : array of shape (n, d)
        Held-out samples.
    wide : (samples, log_density) of a distribution about twice as wide as the data
        Few steps put mass where no data sample lies; these samples see it.
    """
    samples, log_wide = wide
    both = np.concatenate([z, samples])

    def solve(steps):
        log_p, taken = replace(flow, density_steps=steps).refined_log_density(both)
        return log_p, (2 * taken - steps)[: len(z)].mean()  # a refined sample has paid for every doubling

    steps, chosen, least = FIRST_DENSITY_STEPS, MAX_STEPS, np.inf
    current, cost = solve(steps)
    while steps < min(MAX_STEPS, least):
        finer, finer_cost = solve(3 * steps // 2)
        error = np.abs(finer - current)[: len(z)].mean()
        now, then = (np.exp(np.minimum(log_p[len(z) :] - log_wide, 30)) for log_p in (finer, current))
        moved = now - then
        noise = 3 * moved.std() / np.sqrt(len(moved)) if z.shape[1] > 2 else 0.0
        if error < error_limit and abs(moved.mean()) < mass_limit + noise and cost < least:
            chosen, least = steps, cost
        steps, current, cost = 3 * steps // 2, finer, finer_cost
    return replace(flow, density_steps=chosen)


def held_out_flow(z, log_det, flow, folds):
    """Held-out log-densities of the averaged network, from those of its members.

    A sample's held-out value comes from the member that has not seen it; `averaging_gain` adds what the
    average of all members is expected to win. z and `log_det` are those of `transform_left_out`.
    """
    network = flow.field.network
    scored = folds[: network.n_members]
    held = np.concatenate(scored)
    singles = [
        replace(flow, field=flow.field.with_network(network.member(m)), tolerance=0.0) for m in range(network.n_members)
    ]
    if network.n_members < 3:
        return np.concatenate([s.log_prob(z[fold]) for s, fold in zip(singles, scored)]) + log_det[held]
    table = np.stack([single.log_prob(z[held]) for single in singles], axis=1)
    samples, own = np.arange(len(held)), np.repeat(np.arange(len(scored)), [len(f) for f in scored])
    result = table[samples, own]
    table[samples, own] = np.nan
    return result + np.minimum(averaging_gain(table), GAIN_CAP) + log_det[held]


def wide_samples(d, rng, n_samples):
    """Samples of N(0, 4 I) and their log-densities."""
    samples = 2.0 * rng.standard_normal((n_samples, d))
    return samples, -0.5 * (samples**2).sum(1) / 4 - d * np.log(2 * np.sqrt(2 * np.pi))


def resolved(X, rng, bounds):
    """Samples with ties spread at the features' own resolution, and the bounds with their margins.

    Warns of constant features.
    """
    constant = np.flatnonzero(np.ptp(X, axis=0) == 0)
    if len(constant):
        warnings.warn(
            f"Features {constant.tolist()} are constant and have no density: they are given a nominal "
            "resolution. Drop them to compare log-densities.",
            DegenerateDataWarning,
            stacklevel=5,
        )
    resolution = feature_resolution(X, bounds)
    margins = None if bounds is None else bounds_with_margins(X, resolution, bounds)
    return dequantize(X, resolution, rng, bounds), margins


def warn_if_interrupted(result, settings, tuning=None):
    """Say how far a fit got before Ctrl-C."""
    if tuning is not None and tuning.interrupted:
        warnings.warn(
            f"The fit was interrupted after {tuning.n_steps} of {settings.n_tuning_steps} steps of its fine-tuning: "
            "the best weights so far are kept.",
            InterruptedFitWarning,
            stacklevel=5,
        )
    if result.interrupted:
        warnings.warn(
            f"The fit was interrupted after {result.n_steps} of {settings.n_steps} steps: the best weights so "
            "far are kept. Fit again, or with warm_start=True to continue.",
            InterruptedFitWarning,
            stacklevel=5,
        )


def warn_if_singular(X, field, z, rng):
    """Warn of samples on a set of lower dimension: collinear features, or a curved set as the network sees it."""
    n, d = X.shape
    if d == 1 or n <= 2 * d:
        return
    standard = (X - X.mean(0)) / np.maximum(X.std(0), 1e-300)
    k = int((np.linalg.svd(standard, compute_uv=False) > 1e-8 * np.sqrt(n)).sum())
    if k == d and n >= 500:
        # At the finest levels that a network resolves, samples that fill the space have d tangent directions.
        z = field.place(z[:100])
        counts = np.median((dimension_spectrum(field, z, rng, PLATEAU[-2:]) > TANGENT).sum(2), axis=1)
        k = int(counts.max())
    if 0 < k < d:
        warnings.warn(
            f"The samples of X lie on or very near a set of dimension {k} of {d}: a density with respect to the "
            "volume of all features is then arbitrarily large. ManifoldDiffusionEstimator models such samples.",
            DegenerateDataWarning,
            stacklevel=5,
        )
