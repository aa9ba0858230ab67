"""Cells of a measurement: each in a process of its own, on one core and thread, with a time limit, resumable."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import targets

MARK = "CELL "


def read(*paths):
    """Records of JSON-lines files; a missing file has none."""
    return [json.loads(line) for p in map(Path, paths) if p.exists() for line in p.read_text().splitlines()]


def command_line(description, run_cell, run, report):
    """A parser of the commands "run", "report" and "cell", and the parsers of the first two, for options of their own.

    `run` takes the parsed arguments, `report` a list of files and its own options by name, `run_cell` what is in the
    list that names a cell; its record is printed for the process that asked.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    of_run, of_report, of_cell = (commands.add_parser(name) for name in ("run", "report", "cell"))
    of_run.add_argument("--out", required=True)
    of_run.add_argument("--jobs", type=int, default=1)
    of_run.set_defaults(function=run)
    of_report.add_argument("files", nargs="+")
    of_report.set_defaults(function=lambda a: report(**{k: v for k, v in vars(a).items() if k != "function"}))
    of_cell.add_argument("spec")
    of_cell.set_defaults(function=lambda a: print(MARK + json.dumps(run_cell(*json.loads(a.spec))), flush=True))
    return parser, of_run, of_report


def run_all(module, cells, path, jobs=1, limit_s=900.0):
    """Run ``python -m module cell SPEC`` for each cell, `jobs` at a time, and append the records to a file.

    A cell that fails or runs over its limit is reported, and tried again by the next run.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    cells, running = list(cells), {}
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    while cells or running:
        for slot in range(jobs):
            if slot in running or not cells:
                continue
            cell = cells.pop(0)
            command = [sys.executable, "-m", module, "cell", json.dumps(cell)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if jobs <= len(cores):
                # On one core to its end: no cell's cache is shared with another's.
                os.sched_setaffinity(process.pid, [cores[slot]])
            running[slot] = (cell, process, time.monotonic() + limit_s)
        time.sleep(0.1)
        for slot, (cell, process, deadline) in list(running.items()):
            if process.poll() is None and time.monotonic() < deadline:
                continue
            late = process.poll() is None
            if late:
                process.kill()
            text, errors = process.communicate()
            del running[slot]
            records = [line[len(MARK) :] for line in text.splitlines() if line.startswith(MARK)]
            if records:
                with path.open("a") as file:
                    file.write(records[-1] + "\n")
                print(*cell, "done", flush=True)
            else:
                why = f"over {limit_s:.0f} s" if late else errors.strip().splitlines()[-1:]
                print(*cell, "FAILED", why, flush=True)


def over_sets(description, module, run_cell, report):
    """Command line of a measurement of data sets, one number of samples a file: ``run_cell(name, n, seed, data)``."""

    def run(arguments):
        done = {(r["dataset"], r["seed"]) for r in read(arguments.out)}
        names = arguments.datasets.split(",") if arguments.datasets else targets.names(arguments.data)
        todo = [(k, arguments.n, s, arguments.data) for s in range(arguments.seeds) for k in names]
        run_all(module, [c for c in todo if (c[0], c[2]) not in done], arguments.out, arguments.jobs)

    parser, p, _ = command_line(description, run_cell, run, report)
    p.add_argument("--data", default=None)
    p.add_argument("--datasets", default="")
    p.add_argument("--n", type=int, default=2000)
    p.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    arguments.function(arguments)
