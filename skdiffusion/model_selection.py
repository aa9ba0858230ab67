"""Ready search spaces for scikit-learn's search classes."""

from numbers import Integral
from typing import Any

from scipy import stats

from skdiffusion._utils.validation import at_least, validated

__all__ = ["param_distributions"]


@validated(n_samples=at_least(2, Integral), n_features=at_least(1, Integral), prefix=[str])
def param_distributions(n_samples: int, n_features: int, *, prefix: str = "") -> dict[str, Any]:
    """Distributions of the parameters that matter, for RandomizedSearchCV and HalvingRandomSearchCV.

    Parameters
    ----------
    n_samples : int
        Number of training samples: wide networks are tried where there are enough samples to fit them.
    n_features : int
        Number of features: feature transforms are not searched for one feature of fewer than 200 samples.
    prefix : str, default=""
        Prepended to every name, such as ``diffusiondensityestimator__`` for a step of a pipeline.

    Returns
    -------
    dict
        Name of a parameter of `DiffusionDensityEstimator` -> list or scipy distribution.

    Examples
    --------
    >>> from skdiffusion.model_selection import param_distributions
    >>> sorted(param_distributions(2000, 8))
    ['feature_transform', 'hidden_layer_sizes', 'n_estimators', 'options__learning_rate', 'options__weight_decay']
    """
    widths = [32, 64, 128] if n_samples < 1000 else [64, 128, 256]
    space = {
        "hidden_layer_sizes": [(h, h) for h in widths],
        "options__learning_rate": stats.loguniform(2e-3, 2e-2),
        "options__weight_decay": stats.loguniform(1e-4, 1.0),
        "n_estimators": [1, 2, 4, 8] if n_samples < 5000 else [1, 2, 4],
    }
    if n_features > 1 or n_samples >= 200:
        space["feature_transform"] = ["auto", None]
    return {prefix + name: values for name, values in space.items()}
