"""How far a fit has come: a progress bar, scikit-learn's callbacks where it has them, and a time limit."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import numpy as np

from skdiffusion._utils.collective import collective

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's mixin: no callbacks."""

        def _init_callback_context(self, **kwargs: Any) -> None:
            return None

    def with_callbacks(method: Callable) -> Callable:
        return method


__all__ = [
    "CLOSED_FORM_SHARE", "DENOISING_SHARE", "PILOT_SHARE", "SEARCH_SHARE", "TRAINING_SHARE",
    "CallbackSupportMixin", "FitParts", "FitProgress",
    "affordable_in_memory", "affordable_samples", "counted", "training_deadline", "with_callbacks",
]  # fmt: skip

TRAINING_SHARE = 0.75  # of the time allowed; the rest chooses solver steps and stacking weights
PILOT_SHARE = 0.2  # of it, for transforms and the short runs that choose coordinates
CLOSED_FORM_SHARE = 0.45  # of it, after which no family of components is begun
SEARCH_SHARE = 0.15  # of it, for the components of a mixture; there are two at most
DENOISING_SHARE = 0.5  # of it, where a fine-tuning follows
# Samples of each fold that is left out: every network has a density of all of them, after the end of training.
MIN_LEFT_OUT, LEFT_OUT_PER_SECOND = 100, 50.0
# Samples in memory, which everything but the networks learns from: of more, little is fitted to all of them, badly.
MIN_IN_MEMORY, IN_MEMORY_PER_SECOND = 5000, 2000.0


def training_deadline(started: float, max_fit_seconds: float | None, share: float = TRAINING_SHARE) -> float:
    """Moment of `Collective.clock` at which training must end."""
    return float("inf") if max_fit_seconds is None else started + share * max_fit_seconds


def counted(chunks: Iterable, estimator: Any, stage: str, total: int | None) -> Iterator:
    """Chunks of samples, which a progress bar counts if the estimator is verbose; `total` of them if that is known."""
    if not estimator.verbose:
        yield from chunks
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="sample", desc=f"{type(estimator).__name__}, {stage}") as bar:
        for chunk in chunks:
            yield chunk
            bar.update(len(chunk))


def affordable_samples(max_fit_seconds: float | None) -> float:
    """Samples of a fold whose log-densities the time of a fit allows."""
    return float("inf") if max_fit_seconds is None else max(MIN_LEFT_OUT, round(LEFT_OUT_PER_SECOND * max_fit_seconds))


def affordable_in_memory(max_fit_seconds: float | None) -> float:
    """Samples to which the time of a fit allows to fit everything but the networks."""
    if max_fit_seconds is None:
        return float("inf")
    return max(MIN_IN_MEMORY, round(IN_MEMORY_PER_SECOND * max_fit_seconds))


class _FitTask:
    """The task that a fit is to callbacks, a context manager that ends it however the fit ends."""

    def __init__(self, estimator: Any, max_subtasks: int) -> None:
        self.estimator, self._context = estimator, None
        if isinstance(estimator, CallbackSupportMixin):
            self._context = estimator._init_callback_context(max_subtasks=max_subtasks)
        if self._context is not None:
            self._context.call_on_fit_task_begin(estimator=estimator)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the task, unless it has ended."""
        context, self._context = self._context, None
        if context is not None:
            context.call_on_fit_task_end(estimator=self.estimator)


class FitParts(_FitTask):
    """The fits within a fit: callbacks see each as a task, and those meant for it go on to the inner estimator."""

    def fit(self, name: str, inner: Any, X: np.ndarray, **given: Any) -> Any:
        """Fit an inner estimator to the samples of X."""
        if self._context is None:
            return inner.fit(X, **given)
        task = self._context.subcontext(task_name=name)
        task.call_on_fit_task_begin(estimator=self.estimator)
        try:
            with task.propagate_callback_context(inner):
                return inner.fit(X, **given)
        finally:
            task.call_on_fit_task_end(estimator=self.estimator)


class FitProgress(_FitTask):
    """Monitor of a training run: each of its reports is a subtask of the fit, and moves the progress bar."""

    def __init__(self, estimator: Any, n_checks: int) -> None:
        super().__init__(estimator, n_checks)
        self.done, self.stage, self.stopped, self.bar = 0, "training", False, None
        if estimator.verbose:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=None, unit="step", desc=self._title())

    def _title(self) -> str:
        return f"{type(self.estimator).__name__}, {self.stage}"

    def fine_tuning(self, done: int) -> None:
        """From now on, after so many steps, reports are of the fine-tuning and losses in nats."""
        self.done, self.stage = done, "fine-tuning"

    def conditionals(self, done: int) -> None:
        """From now on, after so many steps, reports are of the training of networks for conditional densities."""
        self.done, self.stage = done, "conditionals"

    def __call__(self, step: int, n_steps: int, loss: float, validation_loss: float | None) -> bool:
        """Show a report of the training run; True if a callback asks for the end, in any of the processes of a fit."""
        step, n_steps = self.done + step, self.done + n_steps
        if self.bar is not None:
            self.bar.total = n_steps
            self.bar.set_description(self._title(), refresh=False)
            losses = {"loss": loss, "validation": validation_loss}
            shown = {name: f"{value:.4f}" for name, value in losses.items() if value is not None}
            self.bar.set_postfix(shown, refresh=False)
            self.bar.update(step - self.bar.n)
        if self._context is not None:
            task = self._context.subcontext(task_name=f"{self.stage} to step {step}")
            task.call_on_fit_task_begin(estimator=self.estimator)
            self.stopped = bool(task.call_on_fit_task_end(estimator=self.estimator))
        self.stopped = collective().any(self.stopped)
        return self.stopped

    def close(self) -> None:
        """Close the bar and end the fit's task."""
        if self.bar is not None:
            self.bar.close()
        super().close()
