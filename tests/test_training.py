"""The training step against its definition and against oracles, and the loop that all objectives share."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skdiffusion import DiffusionDensityEstimator, Options
from skdiffusion.densities import GaussianKernelDensity
from skdiffusion.diffusion.fitting import PILOT
from skdiffusion.diffusion.networks import FilmEnsemble, GaussianReference, NetworkField, Passes
from skdiffusion.diffusion.options import default_training
from skdiffusion.diffusion.training import (
    AdamW,
    DistillationPlan,
    FineTuningPlan,
    Objective,
    TrainingPlan,
    TrainingSets,
    add_noise,
    noise_angles,
    plain_target,
    run,
    train,
)
from skdiffusion.diffusion.training._batches import NoisedBatches, ValidationDraws
from skdiffusion.diffusion.training._denoising import Denoising
from skdiffusion.diffusion.training._pieces import Noising, Piece
from skdiffusion.diffusion.training._samples import SampleStream
from skdiffusion.diffusion.training._targets import TargetSamples
from skdiffusion.estimators._resolve import resolve_options
from tests.conftest import draw
from tests.test_likelihood import standardized

ANGLES = np.array([0.05, 0.5, 1.3])
COS, SIN = torch.as_tensor(np.cos(ANGLES)), torch.as_tensor(np.sin(ANGLES))


def test_stable_target_is_the_velocity_of_the_empirical_density(rng):
    samples = rng.standard_normal((30, 2))
    x = torch.as_tensor(samples[:12]).reshape(1, 3, 4, 2)
    z = add_noise(x, torch.as_tensor(rng.standard_normal((1, 3, 4, 2))), COS, SIN)
    ours = TargetSamples(torch.as_tensor(samples)[None]).stable_target(z, x, COS, SIN)
    density = GaussianKernelDensity(samples, 0.0)
    for level, theta in enumerate(ANGLES):
        expected, _ = density(z[0, level].numpy(), theta)
        assert_allclose(ours[0, level], expected, rtol=1e-8, atol=1e-8)


def test_stable_target_with_weights_and_absent_samples(rng):
    samples = rng.standard_normal((20, 2))
    weights = np.where(np.arange(20) < 15, 1.0 + np.arange(20) % 3, 0.0)
    x = torch.as_tensor(samples[:12]).reshape(1, 3, 4, 2)
    z = add_noise(x, torch.as_tensor(rng.standard_normal((1, 3, 4, 2))), COS, SIN)
    with np.errstate(divide="ignore"):
        targets = TargetSamples(torch.as_tensor(samples)[None], torch.as_tensor(np.log(weights))[None])
    ours = targets.stable_target(z, x, COS, SIN)
    density = GaussianKernelDensity(samples, 0.0, weights)
    for level, theta in enumerate(ANGLES):
        assert_allclose(ours[0, level], density(z[0, level].numpy(), theta)[0], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("n", "first", "drawn_first"), [(40, 16, 16), (40, 4, 8), (200, 16, 16), (40, 64, 8)])
def test_targets_are_over_more_samples_once_the_learning_rate_falls(n, first, drawn_first, rng):
    """The velocity of a batch is that over the samples that it draws, or over all samples of a member if these are
    few."""
    samples = torch.as_tensor(rng.standard_normal((n, 2)))
    plan = TrainingPlan(
        n_steps=10, batch_size=8, n_levels=2, n_target_samples=64, n_first_target_samples=first, decay_fraction=0.3
    )
    sets = TrainingSets(samples, np.ones(n), [np.arange(n)])
    batches = NoisedBatches(sets, plan, rng)
    n_drawn = []
    for last in (False, True):
        batches.draw(last)
        n_drawn.append(batches._picks.shape[2])
        batches._now = batches._now._replace(noising=replace(batches._now.noising, plain_below=0.0))
        picks = batches._picks[1, 0]
        z, _, target = batches[1]
        of_all = n <= (plan.n_target_samples if last else first)
        density = GaussianKernelDensity(samples.numpy() if of_all else samples[picks].numpy(), 0.0)
        for level in range(2):
            theta = float(batches._theta[1, level])
            assert_allclose(target[0, level], density(z[0, level].numpy(), theta)[0], rtol=1e-6, atol=1e-6)
    assert n_drawn == [drawn_first, 64 if n > 64 else 8]


def test_training_draws_its_last_phase_when_the_learning_rate_falls(rng):
    plan = TrainingPlan(n_steps=10, check_every=2, decay_fraction=0.3, batch_size=16)
    sets = TrainingSets(
        torch.as_tensor(rng.standard_normal((20, 2)), dtype=torch.float32), np.ones(20), [np.arange(20)]
    )
    network, seen = FilmEnsemble(2, (4, 4)), []
    objective = Denoising(network, sets, plan, rng)
    draw_batches = objective._batches.draw
    objective._batches.draw = lambda last: (seen.append(last), draw_batches(last))
    for step in range(10):
        objective.gradient(step, 10)
    assert seen == [False, True]
    rates = [plan.learning_rate_at(step) for step in range(10)]
    assert rates[7] == plan.learning_rate > rates[8]


def test_plain_target_has_the_oracle_as_its_mean(mixture, rng):
    """E[(target - F) g(z)] = 0 for any function g of z; within five standard errors."""
    n = 200_000
    x, e = torch.as_tensor(draw(mixture, n)), torch.as_tensor(rng.standard_normal((n, 2)))
    theta = torch.tensor([0.7], dtype=torch.float64)
    cos, sin = torch.cos(theta), torch.sin(theta)
    z = add_noise(x.view(1, 1, n, 2), e.view(1, 1, n, 2), cos, sin)
    residual = (
        plain_target(x.view(1, 1, n, 2), e.view(1, 1, n, 2), cos, sin).numpy() - mixture(z[0, 0].numpy(), 0.7)[0]
    )[0, 0]
    for g in (np.ones(n), np.sin(3 * z[0, 0, :, 0].numpy()), z[0, 0, :, 1].numpy()):
        product = residual * g[:, None]
        assert (np.abs(product.mean(0)) < 5 * product.std(0) / np.sqrt(n)).all()


def test_noise_levels_are_stratified_and_within_their_range(rng):
    theta = noise_angles(rng, (200, 16), TrainingPlan(n_steps=1))
    sigma = np.tan(theta)
    assert (np.diff(theta, axis=1) > 0).all()
    assert sigma.min() >= 0.01 - 1e-12
    assert sigma.max() <= 20.0 + 1e-9
    assert np.median(np.log(sigma)) == pytest.approx(-1.2, abs=0.1)


def test_a_sample_comes_as_often_as_its_weight_asks(rng):
    stream = SampleStream(np.arange(4), np.array([1.0, 0.0, 2.0, 1.0]), rng)
    counts = np.bincount(stream.take(4000), minlength=4) / 4000
    assert_allclose(counts, [0.25, 0.0, 0.5, 0.25], atol=1e-3)


def test_adamw_is_torchs(rng):
    start = torch.as_tensor(rng.standard_normal(30))
    ours, theirs = start.clone(), torch.nn.Parameter(start.clone())
    mine = AdamW(ours, weight_decay=0.1)
    reference = torch.optim.AdamW([theirs], lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(20):
        gradient = torch.as_tensor(rng.standard_normal(30))
        theirs.grad = gradient.clone()
        reference.step()
        mine.step(gradient, 1e-2)
    assert_allclose(ours, theirs.detach(), rtol=1e-10)


@pytest.fixture(scope="module")
def trained():
    from skdiffusion.densities import GaussianMixtureDensity

    density = standardized(
        GaussianMixtureDensity([0.5, 0.5], [[-1.5, 0.0], [1.5, 0.0]], [0.2 * np.eye(2), 0.2 * np.eye(2)])
    )
    samples = draw(density, 1500)
    network = FilmEnsemble(2, (32, 32), "silu", 2)
    rng = np.random.default_rng(0)
    network.initialize(rng, 2.0, 1.0)
    folds = np.array_split(rng.permutation(1500), 5)
    training = [np.setdiff1d(np.arange(1500), f) for f in folds[:2]]
    sets = TrainingSets(torch.as_tensor(samples, dtype=torch.float32), np.ones(1500), training, folds[:2])
    return density, train(network, sets, TrainingPlan(n_steps=500, n_target_samples=400), rng)


def test_training_finds_the_oracles_velocity(trained, rng):
    density, result = trained
    field = NetworkField(result.network)
    for theta in (0.3, 0.6, 0.9, 1.3):
        z = np.cos(theta) * draw(density, 500, 7) + np.sin(theta) * rng.standard_normal((500, 2))
        exact, _ = density(z, theta)
        # The target has variance 1 a feature whatever theta.
        assert ((field(z, theta)[0] - exact) ** 2).mean() < 0.02
        if theta < 0.9:
            assert (exact**2).mean() > 0.05  # the bound above says something there


def test_the_loss_stays_above_its_floor(trained):
    """The plain loss cannot fall below E tr Var(target | z): checked with the oracle on the same levels."""
    density, result = trained
    rng = np.random.default_rng(3)
    theta = noise_angles(rng, (1, 16), TrainingPlan(n_steps=1))[0]
    floor = []
    for level in theta:
        x, e = draw(density, 4000, int(1e6 * level)), rng.standard_normal((4000, 2))
        z = np.cos(level) * x + np.sin(level) * e
        floor.append(((np.sin(level) * x - np.cos(level) * e - density(z, level)[0]) ** 2).mean(1))
    floor = np.concatenate(floor)
    best = min(loss for _, loss in result.validation_curve)
    assert best > floor.mean() - 4 * floor.std() / np.sqrt(2048)


def test_losses_start_at_one_and_fall(trained):
    _, result = trained
    assert result.validation_curve[0][1] == pytest.approx(1.0, abs=0.1)
    assert result.validation_curve[-1][1] < 0.93
    assert result.loss_curve[-1][1] < result.loss_curve[0][1]


def test_the_best_average_of_each_member_is_kept(rng):
    """Overfitting: 24 samples, many steps. The kept weights are those of the best check."""
    samples = torch.as_tensor(rng.standard_normal((32, 2)), dtype=torch.float32)
    network = FilmEnsemble(2, (32, 32), "silu", 2)
    network.initialize(rng, 2.0, 1.0)
    folds = [np.arange(8), np.arange(8, 16)]
    training = [np.arange(8, 32), np.r_[0:8, 16:32]]
    sets = TrainingSets(samples, np.ones(32), training, folds)
    result = train(network, sets, TrainingPlan(n_steps=600, batch_size=64), rng)
    assert (result.best_step < 600).all()


def test_patience_ends_training(rng):
    samples = torch.as_tensor(rng.standard_normal((32, 2)), dtype=torch.float32)
    network = FilmEnsemble(2, (32, 32), "silu", 1)
    network.initialize(rng, 2.0, 1.0)
    sets = TrainingSets(samples, np.ones(32), [np.arange(8, 32)], [np.arange(8)])
    assert train(network, sets, TrainingPlan(n_steps=5000, batch_size=64, patience=100), rng).n_steps < 5000


def test_the_validation_loss_is_the_plain_one_with_less_noise(rng):
    """Posterior means over the validation samples in place of single samples: the same in the mean, steadier."""
    samples = torch.as_tensor(0.3 * rng.standard_normal((60, 1)) + rng.choice([-1.0, 1.0], (60, 1)))
    network = FilmEnsemble(1, (8, 8), "silu", 1).to(torch.float64)
    network.flat += 0.3 * torch.as_tensor(rng.standard_normal(network.flat.shape))
    for weight in network.views(network.flat)[-1]:
        weight *= 0.02  # near the zero network, where the noise of the target counts most
    plan, everything = TrainingPlan(n_steps=1, batch_size=16), [np.arange(60)]
    sets = TrainingSets(samples, np.ones(60), everything, everything)
    zero, losses, plain, paired = [], [], [], []
    for _ in range(60):
        draws = ValidationDraws(sets, plan, rng)
        losses.append(draws.losses(Passes(network, 1, draws.n_draws)).mean())
        nothing = Passes(network.with_flat(0 * network.flat), 1, draws.n_draws)
        zero.append(draws.losses(nothing).mean())
        passes = Passes(network, *draws.z.shape[1:3])
        x = samples[torch.as_tensor(rng.integers(60, size=tuple(draws.z.shape[:3])))]
        e = torch.as_tensor(rng.standard_normal(tuple(draws.z.shape)))
        cos, sin = torch.as_tensor(np.cos(draws.angles)), torch.as_tensor(np.sin(draws.angles))
        target = plain_target(x, e, cos, sin)
        gap = passes.velocity(add_noise(x, e, cos, sin), draws.features) - target
        plain.append(float(gap.square().mean()))
        paired.append(plain[-1] - float(target.square().mean()))
    second = float(samples.square().mean())
    angles = noise_angles(rng, (4000, 16), plan)
    assert np.mean(zero) == pytest.approx((second * np.sin(angles) ** 2 + np.cos(angles) ** 2).mean(), rel=0.01)
    assert np.mean(losses) == pytest.approx(np.mean(plain), abs=3 * (np.std(plain) + np.std(losses)) / np.sqrt(60))
    # Of one draw, against the zero network: what decides between two networks.
    assert np.std(np.array(losses) - zero) < 0.8 * np.std(paired)


class Quadratic(Objective):
    """Squared distance of the parameters of two members to their targets; validation moves the target of the second."""

    def __init__(self, validated=True):
        super().__init__(torch.zeros(2, 3))
        self.target, self.validated = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), validated

    def gradient(self, step, n_steps):
        error = self.flat - self.target
        return 2 * error, error.square().mean()

    def validation_losses(self):
        far = self.target * torch.tensor([[1.0], [0.5]])
        return (self.average - far).square().mean(1).numpy() if self.validated else None

    def network_of(self, flat):
        return flat


PLANS = [TrainingPlan, FineTuningPlan, DistillationPlan]


@pytest.mark.parametrize("make", PLANS)
def test_each_member_keeps_its_best_weights(make):
    result = run(Quadratic(), make(n_steps=600, learning_rate=0.05))
    assert_allclose(result.network[0], [1.0, 2.0, 3.0], atol=0.01)
    # On its way to the mean 5 the second member passes its validation target, of mean 2.5.
    assert_allclose(result.network[1].mean(), 2.5, atol=0.8)
    assert result.best_step[1] < result.best_step[0]
    assert [step for step, _ in result.loss_curve] == [step for step, _ in result.validation_curve][1:]
    last = run(Quadratic(), make(n_steps=600, learning_rate=0.05, keep_best=False)).network
    assert_allclose(last, Quadratic().target, atol=0.1)


def test_weights_are_averaged_over_the_last_tenth_of_the_steps():
    steps, weight = np.arange(5000), np.array([TrainingPlan(n_steps=5000).averaging_weight(s) for s in range(5000)])
    share = weight * np.append(np.cumprod(1 - weight[:0:-1])[::-1], 1.0)  # of each step in the last average
    assert share.sum() == pytest.approx(1.0)
    assert share @ (4999 - steps) == pytest.approx(500, rel=0.15)
    last = run(objective := Quadratic(validated=False), DistillationPlan(n_steps=7)).network
    assert torch.equal(last, objective.flat)


@pytest.mark.parametrize("make", PLANS)
def test_learning_rates_rise_to_the_one_given_and_fall_to_zero(make):
    plan = make(n_steps=400, learning_rate=2.0)
    rates = np.array([plan.learning_rate_at(step) for step in range(400)])
    top = int(rates.argmax())
    assert 1.9 < rates[top] <= 2.0
    assert plan.warmup_steps - 10 <= top + 1 <= plan.warmup_steps
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) <= 0).all()
    assert rates[0] < 0.25
    assert rates[-1] < 0.03


@pytest.mark.parametrize("make", PLANS)
def test_every_objective_has_a_deadline_a_monitor_and_an_interrupt(make):
    late = run(Quadratic(), make(n_steps=10**9, deadline=time.perf_counter() + 0.2))
    assert late.out_of_time
    assert 0 < late.n_steps < 10**9
    assert late.validation_curve[-1][0] == late.n_steps

    reports = []
    plan = make(n_steps=10**9, monitor=lambda *report: reports.append(report) or len(reports) == 2)
    stopped = run(Quadratic(validated=False), plan)
    assert stopped.n_steps == 2 * plan.check_every
    assert reports == [(step, 10**9, loss, None) for step, loss in stopped.loss_curve]

    def interrupt(*report):
        raise KeyboardInterrupt

    interrupted = run(Quadratic(), make(n_steps=10**9, monitor=interrupt))
    assert interrupted.interrupted
    assert interrupted.n_steps == plan.check_every
    assert interrupted.network.shape == (2, 3)


def test_pruned_weights_are_not_compared_before_pruning_ends():
    objective = Quadratic()
    objective.settled = lambda step, n_steps: step >= 300
    result = run(objective, TrainingPlan(n_steps=400, patience=100, learning_rate=0.1, tol=100.0))
    assert (result.best_step >= 300).all()  # patience starts there as well
    assert result.n_steps == 400


def test_longer_training_than_the_default_has_a_smaller_learning_rate():
    def plan(**given):
        return resolve_options(DiffusionDensityEstimator(**given), (10_000, 2), torch.device("cpu")).training

    default = plan()
    shorter, longer = plan(max_iter=10), plan(max_iter=300)
    assert longer.n_steps > default.n_steps > shorter.n_steps
    assert shorter.learning_rate == default.learning_rate
    assert longer.learning_rate == pytest.approx(default.learning_rate * (default.n_steps / longer.n_steps) ** 0.5)
    assert plan(max_iter=300, options=Options(learning_rate=0.02)).learning_rate == 0.02


def test_networks_without_fine_tuning_see_all_samples_as_often_as_those_of_5000():
    def plan(n, **given):
        est = DiffusionDensityEstimator(**given)
        options = resolve_options(est, (n, 6), torch.device("cpu"), fine_tunes=False)
        assert options.fine_tuning is None
        return options.training

    assert plan(2000).n_steps == resolve_options(DiffusionDensityEstimator(), (2000, 6), "cpu").training.n_steps
    assert plan(20_000).n_steps == 4 * plan(5000).n_steps
    assert plan(20_000).learning_rate == pytest.approx(plan(5000).learning_rate / 2)
    assert plan(10**6).n_steps == 10 * plan(5000).n_steps
    assert plan(20_000, options=Options(n_training_steps=700)).n_steps == 700


def test_weight_decay_is_derived_from_features_and_samples():
    def weight_decay(n, d, **given):
        est = DiffusionDensityEstimator(options=Options(**given))
        return resolve_options(est, (n, d), torch.device("cpu")).training.weight_decay

    assert weight_decay(2000, 10) == pytest.approx(0.1)
    assert weight_decay(300, 20) == 0.3
    assert weight_decay(20_000, 20) == pytest.approx(0.002)
    assert weight_decay(300, 2) == weight_decay(300, 1) == 1e-4
    assert weight_decay(300, 20, weight_decay=0.0) == 0.0


def test_weight_decay_of_an_estimator_keeps_its_weights_small(rng):
    X = rng.standard_normal((120, 4))

    def size(weight_decay):
        est = DiffusionDensityEstimator(
            (16, 16), feature_transform=None, components=None, max_iter=100, early_stopping=False, random_state=0,
            options=Options(weight_decay=weight_decay),
        ).fit(X)  # fmt: skip
        return float(est.score_model().field.network.flat.norm())

    assert size("auto") == size(0.3) < 0.95 * size(1e-4)


@pytest.mark.parametrize(("n_samples", "patience"), [(200, 100), (999, 100), (2000, 250)])
def test_few_samples_end_training_soon_after_their_last_gain(n_samples, patience):
    assert default_training(n_samples, 8)[0].patience == patience
    assert PILOT["patience"] == TrainingPlan.check_every


def test_batches_of_a_piece_are_those_of_its_steps_alone(rng):
    drawn, theta = torch.randn(3, 2, 32, 2), np.sort(rng.uniform(0.01, 1.5, (3, 4)), axis=1)
    noising = Noising(2, slice(0, 2), 8, slice(0, 8), None, 0.05, GaussianReference(np.eye(2), True))
    batches = list(noising.batches(Piece(drawn, None, theta, 0)))
    first = next(noising.batches(Piece(drawn[:1], None, theta[:1], 0)))
    assert len(batches) == 3
    assert all(torch.equal(ours, alone) for ours, alone in zip(batches[0], first))
