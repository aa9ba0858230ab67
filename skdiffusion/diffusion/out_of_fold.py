"""Log-densities of validation samples by the networks of an ensemble, each on the samples that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from skdiffusion._utils.numerics import floored
from skdiffusion._utils.processes import begin, results
from skdiffusion._utils.protocols import Density
from skdiffusion.diffusion.ensemble import averaging_gain
from skdiffusion.diffusion.flow import LOG_2PI, ProbabilityFlow
from skdiffusion.preprocessing import MappedData, TrainingData

GAIN_CAP = 1.0  # nats; averaging cannot be relied on for more


def some_of_folds(data: TrainingData, n_samples: int, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """So many samples of each validation fold at most, and their places among `data.validated`.

    Of samples that were completed, all that stand for the same one come together, and count once.
    """
    chosen, places, start = [], [], 0
    for fold in data.validation_folds:
        first = data.first(fold)
        local = np.sort(rng.permutation(len(first))[:n_samples])
        chosen.append(data.all_of(first[local]))
        places.append(start + local)
        start += len(first)
    return chosen, np.concatenate(places)


def log_prob_of_members(members: Sequence[Density], mapped: MappedData, folds: Sequence[np.ndarray]) -> np.ndarray:
    """Log-densities of the samples of folds, each by the one member that has not seen its fold."""
    z, folds = mapped.z_left_out, folds[: len(members)]
    own_folds = [begin(member.log_prob, z[fold]) for member, fold in zip(members, folds)]
    samples = np.concatenate(folds)
    return mapped.observed(np.concatenate(results(own_folds)) + mapped.log_det_left_out[samples], samples)


def out_of_fold_log_prob(flow: ProbabilityFlow, mapped: MappedData, folds: Sequence[np.ndarray]) -> np.ndarray:
    """`averaged_log_prob` of the networks of a flow."""
    return averaged_log_prob(flows_of_members(flow), mapped, folds)


def averaged_log_prob(members: Sequence[Density], mapped: MappedData, folds: Sequence[np.ndarray]) -> np.ndarray:
    """Out-of-fold log-densities of an averaged network, from those of its members.

    The value of a sample comes from the member that has not seen it; `averaging_gain` adds what the average of all
    members is expected to win.

    Parameters
    ----------
    members : sequence of Density
        Those of the networks alone.
    mapped : MappedData
    folds : sequence of int arrays
        The samples that each member has not seen.

    Returns
    -------
    ndarray of shape (n_validated,)
    """
    if len(members) < 3:
        return log_prob_of_members(members, mapped, folds)
    z, folds = mapped.z_left_out, folds[: len(members)]
    samples = np.concatenate(folds)
    log_det = mapped.log_det_left_out[samples]
    table = np.stack(results([begin(member.log_prob, z[samples]) for member in members]), axis=1)
    places, own = np.arange(len(samples)), np.repeat(np.arange(len(folds)), [len(f) for f in folds])
    result = table[places, own]
    table[places, own] = np.nan
    return mapped.observed(result + np.minimum(averaging_gain(table), GAIN_CAP) + log_det, samples)


def flows_of_members(flow: ProbabilityFlow) -> list[ProbabilityFlow]:
    """The same flow with each of its networks alone."""
    field = flow.network_field
    members = [field.network.member(m) for m in range(field.network.n_members)]
    return [replace(flow, field=field.with_network(member), tolerance=0.0) for member in members]


def network_gain(flow: ProbabilityFlow, mapped: MappedData, data: TrainingData) -> float:
    """What a network of a flow gains over the Gaussian of whitened samples, in nats a feature.

    The mean over the networks, each on the samples that it has not seen; zero for networks of zero output, up to the
    error of the solver.
    """
    d, parts = data.n_features, list(zip(flows_of_members(flow), data.validation_folds))
    samples = np.concatenate([fold for _, fold in parts])
    z = mapped.z_left_out
    log_prob = np.concatenate(results([begin(member.log_prob, z[fold]) for member, fold in parts]))
    gaussian = -0.5 * (z[samples] ** 2).sum(1) - 0.5 * d * LOG_2PI
    gain = floored(log_prob, d) - floored(gaussian, d)
    return float(np.average(gain, weights=data.sample_weight[samples]) / d)
