"""How far a fit has come: a progress bar, scikit-learn's callbacks where it has them, and a time limit."""

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's mixin: no callbacks."""

    def with_callbacks(method):
        return method


__all__ = [
    "DENOISING_SHARE", "SEARCH_SHARE", "TRAINING_SHARE", "CallbackSupportMixin", "FitParts", "FitProgress",
    "training_deadline", "with_callbacks",
]  # fmt: skip

TRAINING_SHARE = 0.75  # of the time allowed; the rest chooses solver steps and stacking weights
SEARCH_SHARE = 0.15  # of it, for the components of a mixture; there are two at most
DENOISING_SHARE = 0.5  # of it, where a fine-tuning follows


def training_deadline(started, max_fit_seconds, share=TRAINING_SHARE):
    """Moment of time.perf_counter() at which training must end."""
    return float("inf") if max_fit_seconds is None else started + share * max_fit_seconds


def _begin_fit(estimator, n_tasks):
    """The context of a fit's callbacks, or None where there can be none."""
    if not hasattr(estimator, "_init_callback_context"):
        return None
    context = estimator._init_callback_context(max_subtasks=n_tasks)
    context.call_on_fit_task_begin(estimator=estimator)
    return context


class FitParts:
    """The fits within a fit: callbacks see each as a task, and those meant for it go on to the inner estimator.

    Parameters
    ----------
    estimator : estimator being fitted
    n_parts : int
        Inner fits at most.
    """

    def __init__(self, estimator, n_parts):
        self.estimator, self.context = estimator, _begin_fit(estimator, n_parts)

    def fit(self, name, inner, X):
        """Fit an inner estimator to the samples of X."""
        if self.context is None:
            return inner.fit(X)
        task = self.context.subcontext(task_name=name)
        task.call_on_fit_task_begin(estimator=self.estimator)
        with task.propagate_callback_context(inner):
            inner.fit(X)
        task.call_on_fit_task_end(estimator=self.estimator)
        return inner

    def close(self):
        """End the fit's task."""
        if self.context is not None:
            self.context.call_on_fit_task_end(estimator=self.estimator)


class FitProgress:
    """Monitor of `skdiffusion.diffusion.training.train`: each check is a subtask of the fit.

    Parameters
    ----------
    estimator : estimator being fitted
        With the parameter `verbose`.
    n_checks : int
        Checks of a whole training run.
    """

    def __init__(self, estimator, n_checks):
        self.estimator, self.bar, self.context = estimator, None, _begin_fit(estimator, n_checks)
        self.done, self.stage, self.stopped = 0, "training", False
        if estimator.verbose:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=None, unit="step", desc=self._title())

    def _title(self):
        return f"{type(self.estimator).__name__}, {self.stage}"

    def fine_tuning(self, done):
        """From now on, after so many steps, checks are of the fine-tuning and losses in nats."""
        self.done, self.stage = done, "fine-tuning"

    def __call__(self, step, n_steps, loss, held_out):
        """Show a check of the training run; True if a callback asks for the end."""
        step, n_steps = self.done + step, self.done + n_steps
        if self.bar is not None:
            self.bar.total = n_steps
            self.bar.set_description(self._title(), refresh=False)
            shown = {"loss": f"{loss:.4f}"}
            if held_out is not None:
                shown["held out"] = f"{held_out:.4f}"
            self.bar.set_postfix(shown, refresh=False)
            self.bar.update(step - self.bar.n)
        if self.context is not None:
            task = self.context.subcontext(task_name=f"{self.stage} to step {step}")
            task.call_on_fit_task_begin(estimator=self.estimator)
            self.stopped = bool(task.call_on_fit_task_end(estimator=self.estimator))
        return self.stopped

    def close(self):
        """End the bar and the fit's task."""
        if self.bar is not None:
            self.bar.close()
        if self.context is not None:
            self.context.call_on_fit_task_end(estimator=self.estimator)
