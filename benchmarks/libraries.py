"""What PyTorch and zuko do in the places of our own code: seconds, gradients and divergences beside ours.

    python -m benchmarks.libraries run --out benchmarks/results/libraries_torch.jsonl
    python -m benchmarks.libraries report benchmarks/results/libraries_torch.jsonl
    python -m benchmarks.libraries        # both, into a temporary file

- The backward pass: a gradient of the training loss by `Passes`, which is written by hand, and by automatic
  differentiation of the same network. They take turns, and ratios are medians of the ratios of neighbors.
- The distilled network: a flow of a default fit, learnt from the same draws by our masked network and its training, and
  by networks of zuko under Adam with the same loss, batches and schedule.

Seconds are CPU seconds of one thread. What scikit-learn does in the place of components is measured by
``python -m benchmarks.ablation run --libraries``.
"""

import sys
import tempfile
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import cells, targets

N_SAMPLES = 2000
FEATURES = (2, 8, 32)
N_TURNS, N_GRADIENTS, N_TRAINING_STEPS = 9, 20, 100
DATASETS = ("moons", "funnel5", "warped8")
N_DRAWS, N_FRESH, N_SCORED = 65_536, 8192, 40_000
HIDDEN, N_COMPONENTS = (128, 128, 128), 24  # as in DistilledDensityEstimator
BLOCK_SAMPLES = 512  # that are scored at a time, as in ours


def seconds(function, n_calls=1):
    """CPU seconds of a call, the mean of several, and what the last returns."""
    start = time.process_time()
    for _ in range(n_calls):
        value = function()
    return (time.process_time() - start) / n_calls, value


# -- the backward pass ---------------------------------------------------------------------------------------------


def autograd_gradient(network, z, features, target):
    """Gradient of the loss of denoising by automatic differentiation of the same operations."""
    import torch

    flat = network.flat.detach().requires_grad_(True)
    *hidden, (weight, offset) = network.views(flat)
    members, levels, n, _ = z.shape
    x, features = z.reshape(members, levels * n, -1), features.expand(members, -1, -1)
    for w, b, film in hidden:
        gain, shift = torch.bmm(features, film).chunk(2, -1)
        gain = 1 + gain
        a = torch.bmm(x, w).view(members, levels, n, -1)
        p = torch.addcmul((shift + gain * b)[:, :, None], a, gain[:, :, None])
        x = torch.nn.functional.silu(p).view(members, levels * n, -1)
    velocity = torch.bmm(x, weight).view(z.shape) + torch.bmm(features, offset)[:, :, None]
    return torch.autograd.grad((velocity - target).square().sum() / z[0].numel(), flat)[0]


def manual_gradient(passes, z, features, target):
    """The same gradient, as training takes it."""
    residual = passes.velocity(z, features).sub_(target)
    return passes.gradient(residual.mul_(2.0 / z[0].numel()))


def backward_cell(d, batch_size):
    """Milliseconds of a gradient either way, and of a whole step of training, for the default ensemble."""
    import torch

    from skdiffusion.diffusion.networks import FilmEnsemble, Passes, noise_features
    from skdiffusion.diffusion.options import default_network, default_training
    from skdiffusion.diffusion.training import TrainingSets, train

    options, (plan, _), rng = default_network(N_SAMPLES, d), default_training(N_SAMPLES, d), np.random.default_rng(0)
    plan = replace(plan, batch_size=batch_size, n_steps=N_TRAINING_STEPS)
    network = FilmEnsemble(d, options.hidden_layer_sizes, options.activation, options.n_members)
    network.initialize(rng, options.input_gain, options.hidden_gain)
    samples = torch.as_tensor(rng.standard_normal((N_SAMPLES, d)), dtype=torch.float32)
    sets = TrainingSets(samples, np.ones(N_SAMPLES), [np.arange(N_SAMPLES)] * options.n_members)
    step = seconds(lambda: train(network, sets, plan, rng))[0] / N_TRAINING_STEPS  # the parameters are no longer zero
    shape = options.n_members, plan.n_levels, batch_size // plan.n_levels, d
    z, target = (torch.as_tensor(rng.standard_normal(shape), dtype=torch.float32) for _ in range(2))
    features = noise_features(np.linspace(0.05, 1.5, plan.n_levels), torch.float32, "cpu")
    passes, given = Passes(network, *shape[1:3]), (z, features, target)

    def by_hand():
        with torch.no_grad():
            return manual_gradient(passes, *given)

    def automatic():
        return autograd_gradient(network, *given)

    difference = (by_hand().clone() - automatic()).abs().max() / automatic().abs().max()
    pairs = np.array([[seconds(f, N_GRADIENTS)[0] for f in (by_hand, automatic)] for _ in range(N_TURNS)])
    ours, theirs = np.median(pairs, axis=0)
    return {
        "what": "backward", "d": d, "members": options.n_members, "sizes": options.hidden_layer_sizes,
        "batch": batch_size, "ours_ms": 1e3 * ours, "autograd_ms": 1e3 * theirs, "step_ms": 1e3 * step,
        "ratio": float(np.median(pairs[:, 1] / pairs[:, 0])), "difference": float(difference),
    }  # fmt: skip


# -- the distilled network -----------------------------------------------------------------------------------------


def masked_mixture(d):
    """zuko's masked network with the conditional mixtures of ours: the parameters of all features in one pass."""
    import torch
    import zuko
    from torch import nn

    class MaskedMixture(nn.Module):
        def __init__(self):
            super().__init__()
            before = torch.ones(d, d, dtype=torch.bool).tril(-1)
            adjacency = before.repeat_interleave(3 * N_COMPONENTS, dim=0)
            self.network = zuko.nn.MaskedMLP(adjacency, HIDDEN, activation=nn.SiLU)
            last = list(self.network.parameters())[-1].data.view(d, 3, N_COMPONENTS)
            last[:, 0], last[:, 1], last[:, 2] = 0.0, torch.linspace(-2.0, 2.0, N_COMPONENTS), -0.5

        def log_prob(self, x):
            weight, mean, log_scale = self.network(x).view(len(x), d, 3, N_COMPONENTS).unbind(2)
            log_scale = log_scale.clamp(-9.0, 5.0)
            u = (x[:, :, None] - mean) * torch.exp(-log_scale)
            terms = torch.log_softmax(weight, -1) - log_scale - 0.5 * u * u
            return torch.logsumexp(terms, -1).sum(-1) - 0.5 * d * np.log(2 * np.pi)

    return MaskedMixture()


def spline_flow(d):
    """zuko's neural spline flow: one masked transform, which a log-density passes once as in ours."""
    import zuko

    return zuko.flows.NSF(d, transforms=1, bins=N_COMPONENTS, hidden_features=HIDDEN)


ZUKO = {"zuko, MaskedMLP with our mixtures": masked_mixture, "zuko, NSF": spline_flow}


def log_prob_of(model, x):
    """Log-densities by a network of zuko."""
    return model.log_prob(x) if hasattr(model, "log_prob") else model().log_prob(x)


def train_zuko(model, z, log_density, plan, seed=0):
    """Train a network of zuko as `distill` trains ours: the same loss, batches and schedule, by torch's Adam."""
    import torch

    z, log_density = (torch.as_tensor(a, dtype=torch.float32) for a in (z, log_density))
    rng, parameters = np.random.default_rng(seed), list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=plan.weight_decay)
    for step in range(plan.n_steps):
        batch = torch.as_tensor(rng.integers(len(z), size=plan.batch_size))
        gap = log_density[batch] - log_prob_of(model, z[batch])
        loss = gap.mean() + plan.square_weight * gap.clamp(-plan.max_gap, plan.max_gap).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, plan.max_gradient_norm)
        optimizer.param_groups[0]["lr"] = plan.learning_rate_at(step)
        optimizer.step()
    return model


def scores_of(model, z):
    """Log-densities of whitened samples, in blocks."""
    import torch

    with torch.no_grad():
        blocks = torch.as_tensor(z, dtype=torch.float32).split(BLOCK_SAMPLES)
        return torch.cat([log_prob_of(model, block) for block in blocks]).double().numpy()


def distillation_cell(name, n_draws, n_steps):
    """Divergence and speed of our masked network and of zuko's networks; one record each."""
    import torch
    import zuko  # noqa: F401, before the clock runs

    from skdiffusion import DiffusionDensityEstimator
    from skdiffusion._utils.blocks import in_blocks
    from skdiffusion.densities import Blend
    from skdiffusion.diffusion.autoregressive import AutoregressiveDensity
    from skdiffusion.diffusion.networks import MaskedNetwork
    from skdiffusion.diffusion.training import DistillationPlan, distill

    X, _, _ = targets.load(name, N_SAMPLES, 0)
    teacher, d = DiffusionDensityEstimator(components=None, random_state=0).fit(X), X.shape[1]
    blend, preprocessor = Blend(teacher.blend_.densities, teacher.blend_.weights), teacher.preprocessor_
    drawn = blend.draw(n_draws + N_FRESH, d, 1)
    z, log_det = preprocessor.transform(drawn)
    log_density = in_blocks(blend.log_prob, drawn) - log_det
    train, fresh = slice(n_draws), slice(n_draws, None)
    plan = DistillationPlan(n_steps=n_steps)

    def ours():
        rng = np.random.default_rng(0)
        network = MaskedNetwork(d, HIDDEN, N_COMPONENTS, rng)
        distill(network, z[train], log_density[train], plan, rng)
        return AutoregressiveDensity(network).log_prob

    def theirs(make, plan):
        torch.manual_seed(0)
        model = train_zuko(make(d), z[train], log_density[train], plan)
        return lambda x: scores_of(model, x)

    records = []

    def record(method, train):
        spent, log_prob = seconds(train)
        gap = log_density[fresh] - log_prob(z[fresh])
        rate = N_SCORED / seconds(lambda: log_prob(np.resize(z, (N_SCORED, d))))[0]
        divergence, error = float(gap.mean()), float(gap.std() / np.sqrt(len(gap)))
        records.append(
            {"what": "distilled", "dataset": name, "d": d, "method": method, "divergence": divergence, "error": error}
            | {"seconds": spent, "rate": rate}
        )
        return spent

    own = record("ours", ours)
    for method, make in ZUKO.items():
        spent = record(method, partial(theirs, make, plan))
        if spent > 1.2 * own:
            shorter = replace(plan, n_steps=max(1, int(n_steps * own / spent)))
            record(f"{method}, in our seconds", partial(theirs, make, shorter))
    return records


# -- the command ---------------------------------------------------------------------------------------------------


def run_cell(what, *arguments):
    """Records of one measurement, on one thread."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    return [backward_cell(*arguments)] if what == "backward" else distillation_cell(*arguments)


def report(files):
    """Both tables."""
    records = [r for of_cell in cells.read(*files) for r in of_cell]
    print("| features | members, widths, batch | gradient by hand, ms | autograd, ms | ratio | ", end="")
    print("step of training, ms | with autograd, ratio | largest difference of gradients |\n" + "|---" * 8 + "|")
    for r in (r for r in records if r["what"] == "backward"):
        shape = f"{r['members']}, {' x '.join(map(str, r['sizes']))}, {r['batch']}"
        whole = 1 + (r["ratio"] - 1) * r["ours_ms"] / r["step_ms"]
        line = [f"{r['ours_ms']:.2f}", f"{r['autograd_ms']:.2f}", f"{r['ratio']:.2f}", f"{r['step_ms']:.2f}"]
        print("| " + " | ".join([str(r["d"]), shape, *line, f"{whole:.2f}", f"{r['difference']:.0e}"]) + " |")
    print("\n| set | features | network | KL from the teacher's flow, nats | seconds of training | ", end="")
    print("samples scored a second |\n" + "|---" * 6 + "|")
    for r in (r for r in records if r["what"] == "distilled"):
        line = [r["dataset"], r["d"], r["method"], f"{r['divergence']:.4f} ({r['error']:.4f})"]
        print("| " + " | ".join(map(str, [*line, f"{r['seconds']:.1f}", f"{r['rate']:.0f}"])) + " |")


def run(arguments):
    """Run the missing cells."""
    done = [{k: r[0].get(k) for k in ("what", "d", "batch", "dataset")} for r in cells.read(arguments.out)]
    todo = [("backward", d, batch) for d in FEATURES for batch in (256, 512)]
    todo = [c for c in todo if not any(r["what"] == "backward" and (r["d"], r["batch"]) == c[1:] for r in done)]
    names = [name for name in DATASETS if not any(r["dataset"] == name for r in done)]
    todo += [("distilled", name, N_DRAWS, arguments.steps) for name in names]
    cells.run_all("benchmarks.libraries", todo, arguments.out, arguments.jobs)


def main(arguments=None):
    parser, p, _ = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--steps", type=int, default=2000, help="optimizer steps of a distillation")
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "libraries.jsonl")
            main(["run", "--out", path])
            return main(["report", path])
    parsed = parser.parse_args(arguments)
    return parsed.function(parsed)


if __name__ == "__main__":
    main()
