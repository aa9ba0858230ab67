"""What a training step costs each of several processes that share it, beside one process alone.

    python -m benchmarks.processes run --out benchmarks/results/processes.jsonl [--processes 1,2] [--seeds 3]
    python -m benchmarks.processes report benchmarks/results/processes.jsonl

Networks and batches are the defaults for so many samples and features; validation, transforms and closed forms are not
in it. The processor time of a process does not depend on what else the machine does, as the time of the clock does,
which is recorded with the load of the machine. Exchanges go through the machine itself.
"""

import multiprocessing
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import cells

MODULE = "benchmarks.processes"
SHAPES = ((2000, 4), (10_000, 10), (50_000, 30))
WARM_UP, N_STEPS = 20, 200


def objective(n, d, seed):
    """The denoising objective of default networks for n samples of d features."""
    import torch

    from skdiffusion.diffusion.fitting import new_network
    from skdiffusion.diffusion.options import default_network, default_training
    from skdiffusion.diffusion.training import TrainingSets
    from skdiffusion.diffusion.training._denoising import Denoising

    rng = np.random.default_rng(seed)
    network = new_network(d, default_network(n, d), rng)
    samples = torch.as_tensor(rng.standard_normal((n, d)), dtype=torch.float32)
    sets = TrainingSets(samples, np.ones(n), [np.arange(n)] * network.n_members)
    plan = replace(default_training(n, d)[0], sigma_range=(0.01, 20.0))
    return Denoising(network, sets, plan, rng), plan


def steps(rank, size, store, shape, queue):
    """Seconds of the clock and of the processor that a step takes this process, and the numbers of a gradient."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count()))  # not the one core of the cell
    import torch

    from skdiffusion._utils.collective import all_processes
    from skdiffusion._utils.parallel import workers
    from skdiffusion.diffusion.training import AdamW

    if size > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    with workers(1), all_processes(), torch.no_grad():
        training, plan = objective(*shape)
        optimizer = AdamW(training.flat, plan.weight_decay)
        for step in range(WARM_UP + N_STEPS):
            if step == WARM_UP:
                clock, processor = time.perf_counter(), time.process_time()
            gradient, _ = training.gradient(step, plan.n_steps)
            optimizer.step(gradient, plan.learning_rate_at(step))
        spent = (time.perf_counter() - clock) / N_STEPS, (time.process_time() - processor) / N_STEPS
    queue.put((rank, *spent, gradient.numel()))
    if size > 1:
        torch.distributed.destroy_process_group()


def run_cell(size, n, d, seed):
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        queue, store = context.Queue(), str(Path(folder) / "store")
        members = [context.Process(target=steps, args=(r, size, store, (n, d, seed), queue)) for r in range(size)]
        for member in members:
            member.start()
        found = sorted(queue.get(timeout=600) for _ in members)
        for member in members:
            member.join()
    _, clock, processor, n_numbers = zip(*found)
    return {
        "processes": size, "n": n, "d": d, "seed": seed, "clock_ms": 1e3 * max(clock),
        "processor_ms": 1e3 * float(np.mean(processor)), "exchanged_numbers": n_numbers[0],
        "cores": os.cpu_count(), "load": os.getloadavg()[0],
    }  # fmt: skip


def run(arguments):
    done = {(r["processes"], r["n"], r["d"], r["seed"]) for r in cells.read(arguments.out)}
    sizes = [int(size) for size in arguments.processes.split(",")]
    todo = [(size, n, d, seed) for seed in range(arguments.seeds) for n, d in SHAPES for size in sizes]
    cells.run_all(MODULE, [cell for cell in todo if cell not in done], arguments.out, arguments.jobs)


def report(files):
    records = cells.read(*files)
    print("| samples | features | processes | processor ms a step | of one alone | clock ms a step | exchanged kB |")
    print("|---" * 7 + "|")
    for n, d in sorted({(r["n"], r["d"]) for r in records}):
        of_shape = [r for r in records if (r["n"], r["d"]) == (n, d)]
        alone = np.median([r["processor_ms"] for r in of_shape if r["processes"] == 1] or [np.nan])
        for size in sorted({r["processes"] for r in of_shape}):
            own = [r for r in of_shape if r["processes"] == size]
            processor, clock = (float(np.median([r[key] for r in own])) for key in ("processor_ms", "clock_ms"))
            kilobytes = 4 * own[0]["exchanged_numbers"] / 1000 if size > 1 else 0
            line = [n, d, size, f"{processor:.2f}", f"{processor / alone:.2f}", f"{clock:.2f}", f"{kilobytes:.0f}"]
            print("| " + " | ".join(map(str, line)) + " |")
    loads = [r["load"] for r in records] or [np.nan]
    print(f"\nLoad of the machine while it was measured: {min(loads):.1f} to {max(loads):.1f} (0 is idle).")


def main():
    parser, of_run, _ = cells.command_line(__doc__, run_cell, run, report)
    of_run.add_argument("--processes", default="1,2")
    of_run.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
