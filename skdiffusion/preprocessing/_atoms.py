"""Atoms: single values of a numeric feature that carry mass, beside a continuous part.

Zeros of a zero-inflated feature, codes such as 999 and the end of a censored range are atoms. The values of counts and
of rounded features are not, however often they occur: all values repeat there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array

from skdiffusion._utils.frames import as_numbers, category_columns, label_codes_of, with_places
from skdiffusion._utils.numerics import effective_number

MIN_COUNT = 5  # samples at an atom
MIN_SHARE = 0.01  # of the known values of a feature, at an atom
MIN_CLEAR = 20  # samples at an atom of a smaller share, which stands out from all values that hold fewer
MIN_REST = 20  # samples beside the atoms, without which there is no continuous part
CONTINUOUS_SHARE = 0.9  # of the rest that occur once, from which it is continuous
GRID_RATIO = 10.0  # times as many samples as at any value nearby, or with fewer of them, from which one is an atom
NEARBY = 5  # values of a grid on either side
MIN_GRID_VALUES = 20  # distinct values of a grid: a count of few values has no continuous part
ISOLATION = 0.25  # of the range of most of the rest: a value so far from all others is a code


def find_atoms(X: Any) -> dict[Any, list[float]]:
    """Values that carry mass in the numeric features of a table: zero inflation, codes, the ends of censored ranges.

    In a feature whose other values hardly repeat, every value that holds one in a hundred samples and five of them is
    an atom, and so is one of twenty samples that holds ten times as many as any that holds fewer. Among values on a
    grid, as counts and rounded numbers are, an atom holds ten times as many samples as any value nearby, or is far from
    all others.

    Log-densities of two fits compare only if their atoms are the same, because the reference measure depends on them.
    Pass what this function finds as the parameter `atoms` of every fit of a search.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Samples; NaN means unknown. Categories, text and booleans of a frame have no atoms.

    Returns
    -------
    dict
        Rising values by feature: its name in a frame, else its number. Features without atoms are left out.

    Raises
    ------
    ValueError
        If X holds what is no number, or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import find_atoms
    >>> rng = np.random.default_rng(0)
    >>> rain = np.where(rng.random(200) < 0.6, 0.0, rng.gamma(2.0, size=200))
    >>> find_atoms(np.column_stack([rain, rng.normal(size=200)]))
    {0: [0.0]}
    """
    skipped = set(category_columns(X))
    names = list(getattr(X, "column_names", getattr(X, "columns", [])))
    # Only whether they are labels matters here: their places are not looked at.
    numbers = as_numbers(with_places(X, dict.fromkeys(label_codes_of(X, skipped), ())))
    samples = check_array(numbers, dtype=np.float64, ensure_all_finite="allow-nan", input_name="X")
    found = {j: atoms_of(samples[:, j]) for j in range(samples.shape[1]) if j not in skipped}
    return {(names[j] if names else j): values.tolist() for j, values in found.items() if len(values)}


def atoms_of(x: np.ndarray, sample_weight: np.ndarray | None = None) -> np.ndarray:
    """The rising atoms of one feature, x of shape (n_samples,) with NaN where it is unknown.

    Samples of a weight count in proportion to it, all of them as many as their effective number.
    """
    known = ~np.isnan(x)
    weight = np.ones(len(x))[known] if sample_weight is None else sample_weight[known]
    values, inverse, n_samples = np.unique(x[known], return_inverse=True, return_counts=True)
    n = effective_number(weight) if len(weight) else 0.0
    counts = np.bincount(inverse, weight, len(values)) * (n / max(weight.sum(), 1e-300))
    heavy = counts >= max(MIN_COUNT, MIN_SHARE * n)
    found = heavy | _standing_out(counts)
    rest, single = counts[~found], n_samples[~found] == 1
    if rest.sum() >= MIN_REST and rest[single].sum() >= CONTINUOUS_SHARE * rest.sum():
        return values[found]
    if len(values) < MIN_GRID_VALUES or not heavy.any():
        return values[:0]
    apart = counts > GRID_RATIO * _largest_nearby(counts)
    return values[heavy & (apart | _isolated(values, counts))]


def _standing_out(counts: np.ndarray) -> np.ndarray:
    """Which values hold so many samples, and so many times as many as any value that holds fewer, that this is not
    chance where the others hardly repeat."""
    rising = np.sort(counts)
    apart = (rising[1:] >= MIN_CLEAR) & (rising[1:] > GRID_RATIO * rising[:-1])
    return counts >= (rising[1:][apart].min() if apart.any() else np.inf)


def _largest_nearby(counts: np.ndarray) -> np.ndarray:
    """The largest count among the values on either side of each one."""
    padded = np.pad(counts, NEARBY)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEARBY + 1).copy()
    windows[:, NEARBY] = 0
    return windows.max(1)


def _isolated(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Which values at an end are far from all others, for the range of nine tenths of the samples."""
    gaps = np.diff(values)
    low, high = np.interp([0.05, 0.95], (np.cumsum(counts) - counts / 2) / counts.sum(), values)
    far = ISOLATION * (high - low)
    out = np.zeros(len(values), dtype=bool)
    out[0], out[-1] = gaps[0] > far, gaps[-1] > far
    return out
