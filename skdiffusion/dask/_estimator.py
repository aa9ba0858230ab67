"""The scikit-learn interface of a fit on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral
from os import PathLike
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import is_dask_collection
from distributed import Client, get_client
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.frames import wants_frame
from skdiffusion._utils.validation import check_count, fit_context, generator_seed, restored_on_failure
from skdiffusion.compose import mean_log_density
from skdiffusion.dask._partitions import lengths, partitions, shards
from skdiffusion.dask._training import fit_on_workers
from skdiffusion.estimators import DiffusionDensityEstimator, Options

SAMPLE_CHUNK = 100_000  # samples of a chunk of `sample`


class DaskDiffusionDensityEstimator(DiffusionDensityEstimator):
    """`DiffusionDensityEstimator` on a Dask cluster.

    `fit` takes a Dask array or frame and runs one task on every worker that holds partitions of it. The workers share
    the training of the networks. Up to 100000 samples each gathers all of them, and the fit is that of one machine on
    the same samples in the order of the partitions, up to round-off, whichever worker holds which partition. Beyond,
    each reads the partitions that it holds. `score_samples`, `sample` and `impute` of Dask collections are lazy; all
    else is done where it is called, as by the plain estimator, which `to_local` gives.

    Parameters
    ----------
    hidden_layer_sizes, n_estimators, max_iter, early_stopping, feature_transform, bounds, components, n_steps, \
max_fit_seconds, warm_start, device, categorical_features, atoms, n_jobs, random_state, fit_conditionals, verbose, \
options
        As of `DiffusionDensityEstimator`. A file of ``Options(checkpoint=...)`` is one of the worker that holds the
        first partition: on several machines it should lie in a folder that they share.
    client : distributed.Client or None, default=None
        None is the client that was made last.

    Attributes
    ----------
    blend_, component_weights_, preprocessor_, ...
        As of `DiffusionDensityEstimator`.

    Notes
    -----
    Two fits at once wait for each other, whichever client asks for them. A worker that dies ends the fit with an error.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client, LocalCluster
    >>> from skdiffusion.dask import DaskDiffusionDensityEstimator
    >>> settings = {"n_workers": 1, "processes": False, "dashboard_address": None}
    >>> with LocalCluster(**settings) as cluster, Client(cluster) as client:
    ...     X = da.random.default_rng(0).normal(size=(200, 2), chunks=(100, 2))
    ...     est = DaskDiffusionDensityEstimator(client=client, max_iter=5, random_state=0).fit(X)
    ...     est.score_samples(X).compute().shape, est.impute(X).compute().shape
    ((200,), (200, 2))
    >>> type(est.to_local()).__name__
    'DiffusionDensityEstimator'
    """

    _parameter_constraints: dict = {**DiffusionDensityEstimator._parameter_constraints, "client": [Client, None]}

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        *,
        client: Client | None = None,
        n_estimators: Any = "auto",
        max_iter: Any = "auto",
        early_stopping: bool = True,
        feature_transform: Any = "auto",
        bounds: Any = None,
        components: Any = "auto",
        n_steps: Any = "auto",
        max_fit_seconds: float | None = None,
        warm_start: bool = False,
        device: str = "auto",
        categorical_features: Any = "from_dtype",
        atoms: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        fit_conditionals: Any = "auto",
        verbose: int = 0,
        options: Options | None = None,
    ):
        super().__init__(
            hidden_layer_sizes,
            n_estimators=n_estimators,
            max_iter=max_iter,
            early_stopping=early_stopping,
            feature_transform=feature_transform,
            bounds=bounds,
            components=components,
            n_steps=n_steps,
            max_fit_seconds=max_fit_seconds,
            warm_start=warm_start,
            device=device,
            categorical_features=categorical_features,
            atoms=atoms,
            n_jobs=n_jobs,
            random_state=random_state,
            fit_conditionals=fit_conditionals,
            verbose=verbose,
            options=options,
        )
        self.client = client

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "client": None}  # a connection stays where it is

    def __sklearn_clone__(self) -> DaskDiffusionDensityEstimator:
        return type(self)(client=self.client, **self._plain().get_params(deep=False))

    def _plain(self) -> DiffusionDensityEstimator:
        """An unfitted plain estimator of clones of the parameters."""
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name != "client"}
        return clone(DiffusionDensityEstimator(**parameters))

    def to_local(self) -> DiffusionDensityEstimator:
        """The plain estimator: fitted where this one is, without a client.

        Returns
        -------
        DiffusionDensityEstimator
        """
        local = self._plain()
        parameters = self.get_params(deep=False)
        local.__dict__.update({name: value for name, value in vars(self).items() if name not in parameters})
        return local

    def save(self, path: str | PathLike) -> None:
        """Write the fitted estimator to a file, from which `skdiffusion.load` reads the plain one.

        Parameters
        ----------
        path : str or path-like
        """
        self.to_local().save(path)

    # -- fitting ---------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> DaskDiffusionDensityEstimator:
        """Fit the density to the samples of X, on the workers that hold them.

        Parameters
        ----------
        X : dask array or dask frame of shape (n_samples, n_features)
            As of `DiffusionDensityEstimator`. Partitions may differ in their numbers of samples, and be empty.
        y : ignored
            For the scikit-learn protocol.
        sample_weight, groups : dask array or dask series of shape (n_samples,), optional
            With the partitions of X.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If X is no Dask collection.
        ValueError
            As of `DiffusionDensityEstimator`, and if there is no client.
        LostProcessError
            If a worker dies. An earlier fit is then left as it was.
        """
        estimator = self.to_local() if self.warm_start else self._plain()
        if not isinstance(self.random_state, Integral):
            estimator.random_state = generator_seed(self.random_state)  # not of the generators of the workers
        with restored_on_failure(self):
            fitted = fit_on_workers(self._client(), estimator, shards(X, sample_weight, groups))
            parameters = self.get_params(deep=False)
            self.__dict__.update({name: value for name, value in vars(fitted).items() if name not in parameters})
        return self

    def _client(self) -> Client:
        if self.client is not None:
            return self.client
        try:
            return get_client()
        except ValueError as error:
            raise ValueError(
                "There is no client of a Dask cluster: make one by distributed.Client(address), and pass it as "
                "'client' or leave it open."
            ) from error

    # -- what is lazy ----------------------------------------------------------------------------

    def score_samples(self, X: Any, *, measure: str = "lebesgue") -> Any:
        """Log-density of what is known of every sample, in nats, lazily where X is a Dask collection.

        Parameters
        ----------
        X : dask array or dask frame, or array-like, of shape (n_samples, n_features)
            NaN means unknown: the density is then the marginal one of the other features.
        measure : {"lebesgue", "counting"}, default="lebesgue"
            As of the plain estimator.

        Returns
        -------
        dask array, or ndarray, of shape (n_samples,)
            The values are those of the plain estimator to the bit, whatever the partitions.
        """
        check_is_fitted(self)
        if not is_dask_collection(X):
            return super().score_samples(X, measure=measure)
        return self._by_partition(X, partial(_score_samples, measure=measure), ())

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Mean log-density of the samples, in nats; it is computed at once.

        Parameters
        ----------
        X : dask array or dask frame, or array-like, of shape (n_samples, n_features)
        y : ignored
        sample_weight : dask array or array-like of shape (n_samples,), optional

        Returns
        -------
        float
        """
        return mean_log_density(*dask.compute(self.score_samples(X), sample_weight))

    def impute(self, X: Any, n_draws: int | None = None, random_state: Any = None) -> Any:
        """Samples with their unknown features drawn given the known ones, lazily where X is a Dask collection.

        Parameters
        ----------
        X : dask array or dask frame, or array-like, of shape (n_samples, n_features)
            NaN means unknown.
        n_draws : int or None, default=None
            Draws for every sample; None is one, without an axis of its own.
        random_state : int, RandomState or None, default=None
            As of `sample`. The random numbers of a partition follow from its number.

        Returns
        -------
        dask array, or ndarray, of shape (n_samples, n_features) or (n_draws, n_samples, n_features)
        """
        check_is_fitted(self)
        if not is_dask_collection(X):
            return super().impute(X, n_draws, random_state)
        if n_draws is not None:
            check_count(n_draws, 1, "n_draws")
        states = self._states(len(partitions(X)), random_state)
        head = () if n_draws is None else (n_draws,)
        return self._by_partition(X, _impute, (self.n_features_in_,), head, [(n_draws, state) for state in states])

    def sample(
        self, n_samples: int = 1, random_state: Any = None, *, given: Any = None, as_frame: bool | str = "auto"
    ) -> Any:
        """Draw samples from the fitted density, lazily and in chunks of 100000; or at once, of what is `given`.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None
            As of `DiffusionDensityEstimator`, whose samples the first chunk holds. A draw of fewer samples is a prefix
            of a draw of more.
        given : mapping or array-like of shape (n_features,), optional
            One sample, with NaN in (or without) the features to draw: the samples are then those of the plain
            estimator, in memory.
        as_frame : "auto" or bool, default="auto"
            Whether to return a frame; "auto" does where `fit` saw one.

        Returns
        -------
        dask array or dask frame of shape (n_samples, n_features)
        """
        if given is not None:
            return super().sample(n_samples, random_state, given=given, as_frame=as_frame)
        check_is_fitted(self)
        wanted = wants_frame(self, as_frame)
        check_count(n_samples)
        sizes = [min(SAMPLE_CHUNK, n_samples - start) for start in range(0, max(1, n_samples), SAMPLE_CHUNK)]
        model, states = self._delayed(), self._states(len(sizes), random_state)
        drawn = [dask.delayed(_sample)(model, n, state, wanted) for n, state in zip(sizes, states)]
        if not wanted:
            d = self.n_features_in_
            return da.concatenate([da.from_delayed(part, (n, d), dtype=float) for part, n in zip(drawn, sizes)])
        import dask.dataframe as dd

        return dd.from_delayed(drawn, meta=_sample(self.to_local(), 1, 0, True).iloc[:0])

    def _delayed(self) -> Any:
        """The plain estimator, once in a graph."""
        return dask.delayed(self.to_local(), traverse=False)

    def _by_partition(
        self,
        X: Any,
        function: Callable[..., np.ndarray],
        tail: tuple[int, ...],
        head: tuple[int, ...] = (),
        given: list[tuple] | None = None,
    ) -> da.Array:
        """``function(model, partition, *given)`` of all partitions, arrays of shape (*head, n_samples, *tail)."""
        parts, model = partitions(X), self._delayed()
        given = [()] * len(parts) if given is None else given
        blocks = [
            da.from_delayed(dask.delayed(function)(model, part, *own), (*head, n, *tail), dtype=float)
            for part, n, own in zip(parts, lengths(X, len(parts)), given)
        ]
        return da.concatenate(blocks, axis=len(head), allow_unknown_chunksizes=True)

    def _states(self, n: int, random_state: Any) -> list[int | None]:
        """The `random_state` of each of n parts; that of the first is that of the whole for the plain estimator."""
        repeats = random_state is None and self.random_state is not None
        first = self._sample_seed if repeats else generator_seed(random_state)
        if isinstance(random_state, (int, np.integer)):
            first = int(random_state)
        others = [int(np.random.SeedSequence([first, i]).generate_state(1)[0]) for i in range(1, n)]
        return [None if repeats else first, *others]


def _score_samples(model: DiffusionDensityEstimator, X: Any, measure: str) -> np.ndarray:
    return model.score_samples(X, measure=measure) if len(X) else np.empty(0)


def _impute(model: DiffusionDensityEstimator, X: Any, n_draws: int | None, state: int | None) -> np.ndarray:
    if not len(X):
        return np.empty(((n_draws,) if n_draws else ()) + (0, model.n_features_in_))
    return model.impute(X, n_draws, random_state=state)


def _sample(model: DiffusionDensityEstimator, n_samples: int, state: int | None, as_frame: bool) -> Any:
    return model.sample(n_samples, random_state=state, as_frame=as_frame)
