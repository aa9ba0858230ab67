"""A robustness campaign: random inputs, long use, many threads, interruptions at random moments.

    python -m benchmarks.robustness [examples] [cycles] [threads] [interruptions] [--n 10000] [--seed 0]

`examples` calls every public entry point with samples of every dtype, shape, memory layout, scale and pattern of
missing values, and with parameter values of every kind; `benchmarks.any_calls` says what passes.
"""

import argparse
import os
import resource
import signal
import tempfile
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import skdiffusion
from benchmarks.any_calls import TINY, examples
from skdiffusion import DiffusionDensityEstimator


def _handles():
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


def cycles(n, number):
    """`n` cycles of fit, score and sample: memory, threads and handles at the end beside those after a fifth."""
    rng = np.random.default_rng(number)
    seen = []
    for i in range(n):
        X = rng.normal(size=(60, 1 + i % 3))
        est = DiffusionDensityEstimator(**TINY, random_state=i).fit(X)
        est.score(X)
        est.sample(20)
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
        seen.append((resident, threading.active_count(), len(os.listdir("/proc/self/task")), _handles()))
    early, late = seen[n // 5], seen[-1]
    print(f"{n} cycles: resident memory {early[0]:.1f} to {late[0]:.1f} MiB, Python threads {early[1]} to {late[1]},")
    print(f"threads of the process {early[2]} to {late[2]}, open handles {early[3]} to {late[3]}.")
    return late[0] < early[0] + 10 and late[1:] == early[1:]


def threads(n, number):
    """One fitted estimator used from 8 threads gives the answers it gives alone."""
    rng = np.random.default_rng(number)
    est = DiffusionDensityEstimator(max_iter=20, random_state=0).fit(rng.normal(size=(300, 3)))
    X = rng.normal(size=(200, 3))
    tasks = {"score": lambda: est.score_samples(X), "latent": lambda: est.to_latent(X)}
    tasks |= {f"sample {i}": lambda i=i: est.sample(50, random_state=i) for i in range(6)}
    alone = {name: task() for name, task in tasks.items()}
    names = [name for _ in range(n) for name in tasks]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: tasks[name](), names))
    same = sum(np.array_equal(a, alone[name]) for name, a in zip(names, answers))
    print(f"{len(names)} calls from 8 threads: {same} with the same bits as alone.")
    return same == len(names)


def interruptions(n, number):
    """Ctrl-C at `n` random moments of a second fit, or of a save: the estimator is the old one or a new one."""
    rng = np.random.default_rng(number)
    X, Y = rng.normal(size=(150, 2)), 5 + rng.normal(size=(150, 2))
    make = {"max_iter": 60, "hidden_layer_sizes": (8, 8), "n_estimators": 2, "random_state": 0}
    start = time.perf_counter()
    est = DiffusionDensityEstimator(**make).fit(X)
    fit_seconds = time.perf_counter() - start
    outcomes, good = Counter(), 0

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        est.save(path)
        for i in range(n):
            before, saving = dict(est.__dict__), i % 4 == 3
            old = est.score_samples(X[:5])
            limit = rng.uniform(0.0002, 0.02 if saving else 1.1 * fit_seconds)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    signal.setitimer(signal.ITIMER_REAL, limit)
                    if saving:
                        est.save(path)
                    else:
                        est.fit(Y if i % 2 else X)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    outcome = "finished or kept the best so far"
                except KeyboardInterrupt:
                    outcome = "left as it was"
            signal.setitimer(signal.ITIMER_REAL, 0)
            outcomes[("save" if saving else "fit") + " " + outcome] += 1
            now = est.score_samples(X[:5])
            same = est.__dict__.keys() == before.keys() and all(est.__dict__[k] is v for k, v in before.items())
            state = same and np.array_equal(old, now) if outcome == "left as it was" else np.isfinite(now).all()
            loaded = skdiffusion.load(path)
            good += bool(state and np.isfinite(loaded.score_samples(X[:5])).all() and est.sample(3).shape == (3, 2))
    print(f"{n} interruptions: {dict(outcomes)}; {good} left a sound estimator and a sound file.")
    return good == n


PARTS = {"examples": (examples, 10_000), "cycles": (cycles, 500), "threads": (threads, 50)}
PARTS["interruptions"] = (interruptions, 200)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--n", type=int, default=None, help="instead of each part's own number")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    passed = []
    for part in arguments.parts:
        function, n = PARTS[part]
        start = time.perf_counter()
        passed.append(function(arguments.n or n, arguments.seed))
        print(f"{part}: {'pass' if passed[-1] else 'FAIL'}, {time.perf_counter() - start:.0f} s\n", flush=True)
    raise SystemExit(not all(passed))


if __name__ == "__main__":
    main()
