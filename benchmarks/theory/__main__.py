"""Claims of the papers as experiments that can fail: one table, one command.

    python -m benchmarks.theory [--paper besov|wasserstein|gaussian|manifold|subspace] [--quick] [--out FILE]
    python -m benchmarks.theory --report

Every row is a claim, the theorem or equation that it comes from and how that is known ("stated" in the paper,
"recalled" from it, "derived" here), what is predicted, what was measured with its spread over seeds (standard errors in
brackets), and pass or fail. Experiments in the file are skipped, and runs of an unfinished one are kept beside it. All
fits are of the pure diffusion (``components=None``), without feature maps unless a row says otherwise.
"""

import argparse
import json
import time
from pathlib import Path

from benchmarks import cells
from benchmarks.theory import besov, few_directions, gaussian, supports, wasserstein
from benchmarks.theory.records import Kept

EXPERIMENTS = {
    "besov": besov.EXPERIMENTS, "wasserstein": wasserstein.EXPERIMENTS,
    "gaussian": (*few_directions.EXPERIMENTS, *gaussian.EXPERIMENTS),
    **supports.EXPERIMENTS,
}  # fmt: skip


def report(path, experiments=EXPERIMENTS):
    """The table, in the order of the papers and of their experiments."""
    sources = {e.__name__: e.source for of_paper in experiments.values() for e in of_paper}
    order = list(sources)
    rows = sorted(cells.read(path), key=lambda r: order.index(r["experiment"]))
    print("| paper | theorem or equation | claim | predicted | measured | |\n|---|---|---|---|---|---|")
    for r in rows:
        verdict = "pass" if r["passed"] else "FAIL"
        where = sources[r["experiment"]]
        print(f"| {r['paper']} | {where} | {r['claim']} | {r['predicted']} | {r['measured']} | {verdict} |")
    print(f"\n{sum(r['passed'] for r in rows)} of {len(rows)} rows pass.")


def main(command_line=None, experiments=EXPERIMENTS):
    """Run the experiments that the file lacks, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", choices=experiments, default=None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args(command_line)
    path = Path(arguments.out or f"benchmarks/results/theory{'_quick' if arguments.quick else ''}.jsonl")
    if not arguments.report:
        kept = Kept(path.with_name(f"{path.stem}_runs.jsonl"))
        done = {r["experiment"] for r in cells.read(path)}
        for paper in [arguments.paper] if arguments.paper else experiments:
            for experiment in experiments[paper]:
                if experiment.__name__ in done:
                    continue
                start = time.process_time()
                samples = experiment(arguments.quick, kept)
                seconds = round(time.process_time() - start, 1)
                with path.open("a") as file:
                    for sample in samples:
                        sample |= {"experiment": experiment.__name__, "seconds": seconds}
                        file.write(json.dumps(sample) + "\n")
                print(experiment.__name__, f"{seconds:.0f} s", flush=True)
    report(path, experiments)


if __name__ == "__main__":
    main()
