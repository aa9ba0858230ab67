"""Wall-clock time of a fit, of scoring and of drawing with several jobs, beside the same with one.

    python -m benchmarks.jobs [--sets A,B] [--samples 2000] [--jobs 2] [--repeats 3] [--quick]

Runs of both alternate on one machine, which has to be idle: the first line says whether it is. Processes that help a
fit have started before, as they have for every fit but the first. Ratios are of pairs of runs, medians with their
range; the results of both are compared bit by bit. Processor time is that of this process, with all of its threads: it
says what threads cost, and which share of a fit the helping processes leave.
"""

import argparse
import os
import time
import warnings

import numpy as np

from benchmarks import targets

SETS = "checkerboard,warped8,gmm_sep_d8,diabetes"
SCORED, DRAWN = 10_000, 20_000
CALLS = ("fit", "score_samples", "sample")


def timed(call):
    """What a call returns, and the seconds that it takes: of the clock and of the processors."""
    clock, cpu = time.perf_counter(), time.process_time()
    value = call()
    return value, (time.perf_counter() - clock, time.process_time() - cpu)


def run(X, queries, n_jobs, n_drawn):
    """Seconds of the three calls with so many jobs, and what they return."""
    from skdiffusion import DiffusionDensityEstimator

    est = DiffusionDensityEstimator(random_state=0, n_jobs=n_jobs)
    fitted, of_fit = timed(lambda: est.fit(X))
    log_prob, of_scoring = timed(lambda: fitted.score_samples(queries))
    drawn, of_draws = timed(lambda: fitted.sample(n_drawn, random_state=0))
    return dict(zip(CALLS, (of_fit, of_scoring, of_draws))), (log_prob, drawn)


def start_helpers(n_jobs):
    """Wait until processes that help a fit have imported everything."""
    from skdiffusion._utils.processes import helpers, n_free_helpers, n_helpers

    with helpers(n_jobs):
        while n_free_helpers() < n_helpers():
            time.sleep(0.1)


def compared(X, queries, jobs, repeats, n_drawn):
    """Pairs of seconds by call, of one and of several jobs in turn, and whether the results are the same."""
    pairs, same = {call: [] for call in CALLS}, True
    for k in range(repeats):
        found = {n: run(X, queries, n, n_drawn) for n in ((1, jobs) if k % 2 == 0 else (jobs, 1))}
        for call in CALLS:
            pairs[call].append([found[n][0][call] for n in (1, jobs)])
        same = same and all(np.array_equal(a, b) for a, b in zip(found[1][1], found[jobs][1]))
    return {call: np.array(values) for call, values in pairs.items()}, same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", help="folder of tables")
    parser.add_argument("--quick", action="store_true", help="one small set, to see that it runs")
    arguments = parser.parse_args()
    names, n, scored, drawn = arguments.sets.split(","), arguments.samples, SCORED, DRAWN
    if arguments.quick:
        names, n, scored, drawn = ["banana"], 150, 1000, 1000
    warnings.simplefilter("ignore")
    run(np.random.default_rng(0).normal(size=(60, 2)), np.zeros((10, 2)), 1, 10)  # imports
    start_helpers(arguments.jobs)
    print(f"{os.cpu_count()} processors, load of the last minute {os.getloadavg()[0]:.2f} (0 is idle).\n")
    print(f"| set | features | call | seconds, 1 job | {arguments.jobs} jobs | ratio (range) | processor time | same |")
    print("|---" * 8 + "|")
    ratios = {call: [] for call in CALLS}
    for name in names:
        X, test, _ = targets.load(name, n, 0, arguments.data)
        queries = np.tile(test, (-(-scored // len(test)), 1))[:scored]
        pairs, same = compared(X, queries, arguments.jobs, arguments.repeats, drawn)
        for call, seconds in pairs.items():
            one, several = np.median(seconds[..., 0], axis=0)
            wall, cpu = (seconds[:, 1] / seconds[:, 0]).T
            ratios[call].append(np.median(wall))
            line = [name, X.shape[1], call, f"{one:.2f}", f"{several:.2f}"]
            line += [f"{np.median(wall):.2f} ({wall.min():.2f}-{wall.max():.2f})", f"{np.median(cpu):.2f}"]
            print("| " + " | ".join(map(str, [*line, "yes" if same else "NO"])) + " |", flush=True)
    print("\nMedian ratios: " + ", ".join(f"{call} {np.median(found):.2f}" for call, found in ratios.items()))


if __name__ == "__main__":
    main()
