"""Cells of a measurement: each in a process of its own, on one core and thread, with a time limit, resumable."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

MARK = "CELL "


def read(*paths):
    """Records of JSON-lines files; a missing file has none."""
    return [json.loads(line) for p in map(Path, paths) if p.exists() for line in p.read_text().splitlines()]


def answer(record):
    """Print the record of a cell, for the process that asked."""
    print(MARK + json.dumps(record), flush=True)


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
