"""Samples of the table, and values that are kept so that a long experiment goes on where it stopped."""

import json

import numpy as np


def entry(paper, claim, predicted, measured, passed):
    """A sample of the table: what a paper or a derivation says, what was measured, and whether they agree."""
    return {"paper": paper, "claim": claim, "predicted": predicted, "measured": measured, "passed": bool(passed)}


def source(where, known):
    """Mark an experiment with the theorem or equation that it tests, and how that is known.

    "stated" was read in the paper or its abstract; "recalled" is from memory, numbers of theorems included; "derived"
    is a consequence or an aim of our own, which no paper claims.
    """
    if known not in ("stated", "recalled", "derived"):
        raise ValueError(f"known must be 'stated', 'recalled' or 'derived'. Got {known!r} instead.")

    def mark(experiment):
        experiment.source = f"{where} ({known})"
        return experiment

    return mark


def share(hits, n):
    """A share of n runs and its 95 % interval after Clopper and Pearson: low, high."""
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(0.95)
    return float(interval.low), float(interval.high)


def with_error(value, error, form=".3f"):
    """A value and its standard error in brackets, as text; without brackets where one seed gives none, NaN."""
    return f"{value:{form}}" if np.isnan(error) else f"{value:{form}} ({error:{form}})"


def standard_error(values):
    """Standard error of the mean of values; NaN of a single one."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def spread(values, digits=3):
    """Mean and standard error, as text."""
    return with_error(np.mean(values), standard_error(values), f".{digits}f")


def slope(n, values):
    """Slope of the logarithm of the means over the seeds on that of n, and a text with its standard error.

    `values` has a row for each n and a column for each seed.
    """
    found = np.polyfit(np.log(n), np.log(np.mean(values, axis=1)), 1)[0]
    single = [np.polyfit(np.log(n), np.log(v), 1)[0] for v in np.transpose(values)]
    return found, with_error(found, standard_error(single))


def jackknifed(statistic, *tables):
    """A statistic of tables with a column for each seed, and its standard error, by leaving out every seed in turn.

    The error of one seed is NaN.
    """
    tables = [np.asarray(table, dtype=float) for table in tables]
    n_seeds = tables[0].shape[-1]
    if n_seeds == 1:
        return float(statistic(*tables)), np.nan
    left = [statistic(*(np.delete(table, k, axis=-1) for table in tables)) for k in range(n_seeds)]
    return float(statistic(*tables)), float(np.std(left) * np.sqrt(n_seeds - 1))


def bootstrapped(statistic, *tables, n_draws=400):
    """The 95 % interval of a statistic of tables with a column for each seed, which are drawn anew together.

    For medians, of which leaving out seeds in turn does not give the error.
    """
    rng, tables = np.random.default_rng(0), [np.asarray(table, dtype=float) for table in tables]
    picks = rng.integers(tables[0].shape[-1], size=(n_draws, tables[0].shape[-1]))
    low, high = np.quantile([statistic(*(table[..., pick] for table in tables)) for pick in picks], [0.025, 0.975])
    return float(low), float(high)


def mean_ratio(values, others):
    """Mean of values over that of others: a number, or one for each row."""
    return np.mean(values, axis=-1) / np.mean(others, axis=-1)


def median_interval(values):
    """The 95 % interval of the median of a distribution from samples, by its order statistics."""
    from scipy.stats import binom

    rank = max(1, int(binom.ppf(0.025, len(values), 0.5)))
    ordered = np.sort(values)
    return float(ordered[rank - 1]), float(ordered[-rank])


def divergence(log_p, log_q):
    """Divergence of q from p by samples of p: the mean of log(p/q), with q/p - 1, whose mean is 0, as its control.

    Near the truth the two move as one, so that small divergences are seen.
    """
    gap, control = log_q - log_p, np.expm1(log_q - log_p)
    share = np.cov(gap, control)[0, 1] / max(control.var(ddof=1), 1e-300)
    return float(share * control.mean() - gap.mean())


class Kept:
    """Values by name in a JSON-lines file; a value that is there is not computed again."""

    def __init__(self, path):
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.values = {json.dumps(r["name"]): r["value"] for r in map(json.loads, lines)}

    def __call__(self, function, *name):
        """The value of ``function(*name[1:])``; `name` starts with that of the experiment."""
        key = json.dumps(name)
        if key not in self.values:
            self.values[key] = function(*name[1:])
            with self.path.open("a") as file:
                file.write(json.dumps({"name": name, "value": self.values[key]}) + "\n")
        return self.values[key]
