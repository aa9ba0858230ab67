"""Groups of members that are trained side by side, where a member then has the bits that it has among all.

A product of matrices goes member by member. A loop over the numbers of all members takes them in whole vectors, and
those that are left over at its end one by one, which may round otherwise: a group must leave none over.
"""

from __future__ import annotations

from math import gcd

from skdiffusion._utils.parallel import n_workers
from skdiffusion.diffusion.networks import FilmEnsemble

VECTORS = 32  # float32 numbers of the widest vectors of a processor, two at a time
MIN_NUMBERS = 12_000  # of a hidden layer of a group: with fewer, the interpreter takes longer than the products


def member_groups(network: FilmEnsemble, n_samples: int) -> list[slice]:
    """The members of each group: as many groups as there are workers, or one.

    Parameters
    ----------
    network : FilmEnsemble
    n_samples : int
        Samples of a member in a batch.
    """
    widths = network.hidden_layer_sizes
    # Of one feature and one member, torch takes the last product for that of a matrix and a vector.
    smallest = max(-(-MIN_NUMBERS // (n_samples * min(widths))), 2 if network.n_features == 1 else 1)
    count = max(1, min(n_workers(), network.n_members // smallest)) if network.device.type == "cpu" else 1
    ends = [network.n_members * k // count for k in range(count + 1)]
    groups = [slice(start, stop) for start, stop in zip(ends, ends[1:])]
    numbers = gcd(*(n_samples * width for width in widths))
    whole = all((group.stop - group.start) * numbers % VECTORS == 0 for group in groups)
    return groups if whole else [slice(0, network.n_members)]
