"""
How many steps does the flow need?
==================================

Samples and log-densities are solutions of an ordinary differential equation. A fit chooses the
number of steps; here they are set by hand, and the error is measured against a fine solution. The
estimate that `log_density_error` returns needs no fine solution.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from skdiffusion import DiffusionDensityEstimator

rng = np.random.default_rng(0)


def draw(n):
    """A banana."""
    x = 1.5 * rng.standard_normal(n)
    return np.column_stack([x, 0.5 * x**2 + 0.6 * rng.standard_normal(n)])


def rms(gap):
    """Root mean square."""
    return np.sqrt((gap**2).mean())


X, fresh = draw(2000), draw(400)
est = DiffusionDensityEstimator(components=None, random_state=0).fit(X)
member = est.blend_.densities["diffusion"]
flow = replace(member.density, tolerance=0.0)
z = member.preprocessor.transform(fresh)[0]
noise = rng.standard_normal((2000, 2))

best = replace(flow, density_steps=256).log_prob(z)
fine = flow.from_latent(noise, n_steps=256)
steps = np.array([4, 8, 16, 32, 64])
nats = [np.abs(replace(flow, density_steps=int(n)).log_prob(z) - best).mean() for n in steps]
stated = []
for n in steps:
    once, twice = (replace(flow, density_steps=int(k)).log_prob(z) for k in (n, 2 * n))
    stated.append(np.abs(once - twice).mean())
moved = {
    name: [
        rms(replace(flow, sample_stepper=name).draw(noise, n_steps=int(n)) - fine) for n in steps
    ]
    for name in ("euler", "rk4", "ab2", "ab4")
}
for n, error, said, *samples in zip(steps, nats, stated, *moved.values()):
    shown = ", ".join(f"{name} {e:.4f}" for name, e in zip(moved, samples))
    print(f"{n:3d} steps: {error:.4f} nats off (stated {said:.4f}); samples moved by {shown}")
chosen = member.density
print(
    f"the fit chose {chosen.density_steps} steps for densities, {chosen.sample_steps} for samples"
)

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
axes[0].loglog(steps, nats, "o-", color="C1", label="true error")
axes[0].loglog(steps, stated, "s--", color="C0", label="stated by step doubling")
axes[0].axvline(chosen.density_steps, color="0.7", linewidth=0.8)
axes[0].set(
    xlabel="steps (one evaluation of the network each)", ylabel="mean error of log-densities (nats)"
)
for (name, errors), color in zip(moved.items(), ("0.6", "C1", "C2", "C0")):
    evaluations = steps * (4 if name == "rk4" else 1)
    axes[1].loglog(evaluations, errors, "o-", color=color, label=name)
for ax, ticks in zip(axes, (steps, [4, 16, 64, 256])):
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
axes[1].set(
    xlabel="evaluations of the network", ylabel="RMS error of samples (standard deviations)"
)
for ax in axes:
    ax.legend()
plt.show()

assert nats[-1] < 0.01
assert 0.5 < stated[2] / nats[2] < 2
assert moved["ab2"][2] < moved["euler"][2]

# %%
# Where it fails: a narrow peak needs steps that see it. The fit of a distribution with a thin ring
# takes several times as many, and scoring slows down by as much.
