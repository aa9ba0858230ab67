r"""Ensembles of multilayer perceptrons whose hidden layers are modulated by the noise level.

A member maps a noised sample z in R^d and an angle theta to a velocity in R^d:

.. math::
    p_l = (1 + g_l(\theta)) \odot (h_{l-1} W_l + b_l) + c_l(\theta),\quad
    h_l = \phi(p_l),\quad F = h_L W_{L+1} + b_{L+1}(\theta),

with h_0 = z. Gains g, shifts c and the last offset are linear in cosine features of the log noise level
(feature-wise linear modulation, FiLM). All members are trained and evaluated in one batched product.

The velocity that the network learns, as `VelocityField` defines it, is zero for the standard Gaussian.

With two hidden layers the divergence is one bilinear form in the slopes
:math:`s_l = \phi'(p_l)(1 + g_l)`, at about the cost of one more hidden product, whatever d:

.. math:: \mathrm{tr}\,\partial F/\partial z = s_1^T\,[W_2 \odot (W_3 W_1)^T]\,s_2 .

With three it is a sum over the features of products that meet in the middle layer, at the cost of 2 d hidden products:

.. math:: \mathrm{tr}\,\partial F/\partial z = \sum_{i=1}^d s_2^T\,[(\mathrm{diag}(W_{1,i}) W_2)^T s_1 \odot
    (\mathrm{diag}(W_{4,i}) W_3^T)^T s_3] .

Other depths carry the d tangents of the input through the layers, which is exact and costs d passes.

References
----------
Perez et al. (2018), FiLM: visual reasoning with a general conditioning layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from skdiffusion._utils.protocols import VelocityField
from skdiffusion.diffusion.networks._activations import ACTIVATIONS

N_FEATURES = 16  # cosine features of the log noise level
MIN_COLUMNS = 16  # of a product with few outputs: in fewer of them a sample has other bits
LOG_SIGMA_RANGE = (math.log(1e-3), math.log(20.0))


def noise_features(theta: float | np.ndarray, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Cosine features of the log noise level, shape (n_levels, N_FEATURES); the first is constant."""
    sigma = np.tan(np.atleast_1d(np.asarray(theta, dtype=np.float64)))
    low, high = LOG_SIGMA_RANGE
    u = np.clip((np.log(np.maximum(sigma, 1e-300)) - low) / (high - low), 0.0, 1.0)
    features = np.cos(np.pi * u[:, None] * np.arange(N_FEATURES))
    return torch.as_tensor(features, dtype=dtype, device=device)


class FilmEnsemble:
    """FiLM networks with all parameters in one flat buffer: zero at first, in single precision on the CPU.

    Parameters
    ----------
    n_features : int
        Dimension d of the samples.
    hidden_layer_sizes : sequence of int
        Widths of the hidden layers. Two or three layers have a closed-form divergence.
    activation : str, default="silu"
        Activation of the hidden layers, a key of `ACTIVATIONS`.
    n_members : int, default=1
        Number of networks; an evaluator returns the mean of their velocities.
    n_inputs : int, optional
        Dimension of what the networks see, where it is not that of the samples: see `SplitField`.

    Attributes
    ----------
    flat : tensor of shape (n_members, n_parameters)
        The parameters.

    Raises
    ------
    ValueError
        If the activation is unknown.
    """

    _saved = ("n_features", "hidden_layer_sizes", "activation", "n_members", "n_parameters", "flat", "_shapes")

    edges: tuple[float, ...] = ()  # of intervals of noise levels: one network serves them all

    def __init__(
        self,
        n_features: int,
        hidden_layer_sizes: Sequence[int],
        activation: str = "silu",
        n_members: int = 1,
        n_inputs: int | None = None,
    ):
        if activation not in ACTIVATIONS:
            raise ValueError(f"The 'activation' must be one of {sorted(ACTIVATIONS)}. Got {activation!r} instead.")
        self.n_features, self.hidden_layer_sizes = n_features, tuple(hidden_layer_sizes)
        self.activation, self.n_members = activation, n_members
        widths = (n_inputs or n_features, *self.hidden_layer_sizes, n_features)
        self._shapes: list[tuple[int, int]] = []
        for layer, (n_in, n_out) in enumerate(zip(widths[:-1], widths[1:])):
            last = layer == len(widths) - 2
            # The features include a constant, which makes a separate last bias redundant.
            self._shapes.append((n_in, n_out))
            self._shapes.append((N_FEATURES, n_out) if last else (1, n_out))
            if not last:
                self._shapes.append((N_FEATURES, 2 * n_out))
        self.n_parameters = sum(a * b for a, b in self._shapes)
        self.flat = torch.zeros(n_members, self.n_parameters)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters and of the arithmetic."""
        return self.flat.dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.flat.device

    @property
    def parts(self) -> list[FilmEnsemble]:
        """The ensembles of all intervals of noise levels."""
        return [self]

    def at(self, theta: float) -> FilmEnsemble:
        """The ensemble of the interval of an angle."""
        return self

    def with_flat(self, flat: Tensor) -> FilmEnsemble:
        """The same architecture over other parameters, shape (n_members, n_parameters)."""
        other = object.__new__(FilmEnsemble)
        other.__dict__.update(self.__dict__)
        other.flat, other.n_members = flat, flat.shape[0]
        return other

    def member(self, m: int) -> FilmEnsemble:
        """The network of member m alone, over the same memory."""
        return self.with_flat(self.flat[m : m + 1])

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> FilmEnsemble:
        """The network with parameters of another type or on another device."""
        return self.with_flat(self.flat.to(dtype=dtype, device=device))

    def copy(self, dtype: torch.dtype, device: torch.device | str) -> FilmEnsemble:
        """A copy that shares no memory with this network."""
        return self.with_flat(self.flat.to(dtype=dtype, device=device, copy=True))

    def views(self, flat: Tensor) -> list[tuple[Tensor, ...]]:
        """The parameters as a list of layers: (W, b, film) for hidden ones, (W, film) for the last."""
        parts, start = [], 0
        for n_in, n_out in self._shapes:
            stop = start + n_in * n_out
            parts.append(flat[:, start:stop].view(-1, n_in, n_out))
            start = stop
        hidden = len(self.hidden_layer_sizes)
        return [tuple(parts[3 * k : 3 * k + 3]) for k in range(hidden)] + [tuple(parts[3 * hidden :])]

    def initialize(self, rng: np.random.Generator, input_gain: float, hidden_gain: float) -> None:
        """Draw the parameters. The last layer is zero, so the velocity is zero: the fitted Gaussian.

        `input_gain` scales the first layer, `hidden_gain` the others: the larger, the finer is the structure of the
        data that training sees at once.
        """
        gain = input_gain
        for weight, bias, _ in self.views(self.flat)[:-1]:
            scale = gain / math.sqrt(weight.shape[1])
            weight.copy_(torch.as_tensor(rng.standard_normal(tuple(weight.shape)) * scale))
            bias.copy_(torch.as_tensor(rng.uniform(-1, 1, tuple(bias.shape)) * scale))
            gain = hidden_gain

    def evaluator(self) -> FilmEvaluator:
        """The mean velocity as a field, with everything that does not depend on z prepared."""
        return FilmEvaluator(self)


class FilmEvaluator(VelocityField):
    """Mean velocity of an ensemble and its divergence, for blocks of samples in the type of its parameters."""

    def __init__(self, network: FilmEnsemble, averages: bool = True):
        self.network = network
        self.act = ACTIVATIONS[network.activation]
        self.layers = network.views(network.flat)
        members = network.n_members if averages else 1
        first, last = self.layers[0], self.layers[-1]
        # Side by side, the members' first layers are one matrix, and so are their last ones.
        self.first_weight = first[0].permute(1, 0, 2).reshape(network.n_features, -1).contiguous()
        self.last_weight = (last[0] / members).reshape(-1, network.n_features).T.contiguous()
        self.depth = len(network.hidden_layer_sizes)
        self.kernels: tuple[Tensor, ...] = ()  # of the divergence in closed form
        if self.depth == 2:
            w1, w2, w3 = (layer[0] for layer in self.layers)
            self.kernels = (w2 * torch.bmm(w3, w1).transpose(1, 2) / members,)
        elif self.depth == 3:
            w1, w2, w3, w4 = (layer[0] for layer in self.layers)
            from_input = (w1.transpose(1, 2)[..., None] * w2[:, :, None]).flatten(2)
            from_output = (w4[..., None] / members * w3.transpose(1, 2)[:, :, None]).flatten(2)
            self.kernels = from_input, from_output
        self._levels: dict[float, tuple[list[tuple[Tensor, Tensor]], Tensor]] = {}

    def modulation(self, theta: float) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Gains and shifts of every hidden layer, and the last offset, at one angle."""
        key = float(theta)
        if key not in self._levels:
            features = noise_features(key, self.network.dtype, self.network.device)
            levels = []
            for w, b, film in self.layers[:-1]:
                modulation = torch.matmul(features, film)
                gain, shift = 1 + modulation[..., : w.shape[2]], modulation[..., w.shape[2] :]
                # The bias is folded into the shift: p = gain * (x W) + (gain * b + shift).
                levels.append((gain, gain * b + shift))
            self._levels[key] = levels, torch.matmul(features, self.layers[-1][1]).mean(0)
        return self._levels[key]

    def __call__(self, z: Tensor, theta: float, divergence: bool = False) -> tuple[Tensor, Tensor | None]:
        levels, offset = self.modulation(theta)
        x, slopes = self._into_first(z), []
        for k, (gain, shift) in enumerate(levels):
            if k:
                x = torch.bmm(x, self.layers[k][0])
            p = torch.addcmul(shift, x, gain)
            if divergence:
                x, kept = self.act.value(p)
                slopes.append(self.act.slope(p, x, kept) * gain)
            else:
                x = self.act.of(p)
        return self._out_of_last(x) + offset, self._trace(slopes) if divergence else None

    def _into_first(self, z: Tensor) -> Tensor:
        """Products (members, n, width) of samples with the first weights."""
        return (z @ self.first_weight).view(len(z), self.network.n_members, -1).transpose(0, 1)

    def _out_of_last(self, x: Tensor) -> Tensor:
        """Products (n, d) of the units (members, n, width) of the last hidden layer with the last weights."""
        return _side_by_side(x, self.last_weight)

    def _total(self, x: Tensor) -> Tensor:
        """What the units (members, n, units) add to the divergence of each sample, shape (n,)."""
        return _summed(x)

    def _trace(self, slopes: list[Tensor]) -> Tensor:
        """Divergence of the mean velocity from the slopes of the hidden layers, each (members, n, width)."""
        if self.depth == 2:
            return self._total(torch.bmm(slopes[0], self.kernels[0]).mul_(slopes[1]))
        if self.depth == 3:
            s1, s2, s3 = slopes
            parts = zip(*(torch.bmm(*m).split(s2.shape[2], 2) for m in zip((s1, s3), self.kernels)))
            both = torch.mul(*next(parts))
            for a, b in parts:  # one a feature
                both.addcmul_(a, b)
            return self._total(both.mul_(s2))
        last = self.layers[-1][0].transpose(1, 2)[:, :, None] / self.network.n_members
        return (self._tangents(slopes) * last).sum((0, 1, 3))

    def pull_back(self, z: Tensor, theta: float, by_velocity: Tensor, by_trace: Tensor) -> Tensor:
        if self.depth not in (2, 3) or self.act.curve is None:
            return super().pull_back(z, theta, by_velocity, by_trace)
        levels, _ = self.modulation(theta)
        x, slopes, bends = self._into_first(z), [], []
        for k, (gain, shift) in enumerate(levels):
            if k:
                x = torch.bmm(x, self.layers[k][0])
            p = torch.addcmul(shift, x, gain)
            x, kept = self.act.value(p)
            slopes.append(self.act.slope(p, x, kept).mul_(gain))
            bends.append(self.act.curve(p, x, kept).mul_(gain * gain))
        by_slopes = self._by_slopes(slopes, by_trace[:, None])
        by_value = (by_velocity @ self.last_weight).view(len(z), self.network.n_members, -1).transpose(0, 1)
        for k in reversed(range(self.depth)):
            by_product = torch.addcmul(by_value * slopes[k], by_slopes[k], bends[k])
            if k:
                by_value = torch.bmm(by_product, self.layers[k][0].transpose(1, 2))
        return _side_by_side(by_product, self.first_weight)

    def _by_slopes(self, slopes: list[Tensor], by_trace: Tensor) -> list[Tensor]:
        """Derivatives by the slopes of all layers of the divergence of two or three, times `by_trace` (n, 1)."""
        if self.depth == 2:
            first, last = (s * by_trace for s in slopes)
            return [torch.bmm(last, self.kernels[0].transpose(1, 2)), torch.bmm(first, self.kernels[0])]
        s1, s2, s3 = slopes
        middle = (s2 * by_trace)[:, :, None]
        a, b = (torch.bmm(s, matrix).unflatten(2, (-1, s2.shape[2])) for s, matrix in zip((s1, s3), self.kernels))
        by_first = torch.bmm((b * middle).flatten(2), self.kernels[0].transpose(1, 2))
        by_last = torch.bmm((a * middle).flatten(2), self.kernels[1].transpose(1, 2))
        return [by_first, a.mul_(b).sum(2).mul_(by_trace), by_last]

    def _tangents(self, slopes: list[Tensor]) -> Tensor:
        """Derivatives of the last hidden layer by every feature, (members, d, n, width)."""
        tangents = slopes[0][:, None] * self.layers[0][0][:, :, None]
        for (weight, *_), slope in zip(self.layers[1:-1], slopes[1:]):
            members, d, n, _ = tangents.shape
            tangents = torch.bmm(tangents.reshape(members, d * n, -1), weight).view(members, d, n, -1) * slope[:, None]
        return tangents

    def jacobian(self, z: Tensor, theta: float) -> Tensor:
        levels, _ = self.modulation(theta)
        x, slopes = z.expand(self.network.n_members, *z.shape), []
        for (w, _, _), (gain, shift) in zip(self.layers[:-1], levels):
            p = torch.addcmul(shift, torch.bmm(x, w), gain)
            x, kept = self.act.value(p)
            slopes.append(self.act.slope(p, x, kept) * gain)
        tangents = self._tangents(slopes)
        members, d, n, _ = tangents.shape
        by_feature = torch.bmm(tangents.view(members, d * n, -1), self.layers[-1][0]).mean(0)
        return by_feature.view(d, n, d).permute(1, 2, 0)


class MembersEvaluator(FilmEvaluator):
    """Velocity and divergence of every member at its own samples: as many for each, those of a member together.

    The modulation at the given angles, the only ones that it is for, is one product: training, whose angles never come
    again, would else spend more time on it than on the layers.
    """

    def __init__(self, network: FilmEnsemble, thetas: Sequence[float]):
        super().__init__(network, averages=False)
        features = noise_features(np.asarray(thetas), network.dtype, network.device)
        levels = []
        for w, b, film in self.layers[:-1]:
            gains, shifts = torch.matmul(features, film).split(w.shape[2], 2)
            gains = 1 + gains
            shifts = torch.addcmul(shifts, gains, b)
            levels.append([[one[:, None] for one in part.unbind(1)] for part in (gains, shifts)])
        offsets = [one[:, None] for one in torch.matmul(features, self.layers[-1][1]).unbind(1)]
        for k, (theta, offset) in enumerate(zip(thetas, offsets)):
            self._levels[float(theta)] = [(gains[k], shifts[k]) for gains, shifts in levels], offset

    def __call__(self, z: Tensor, theta: float, divergence: bool = False) -> tuple[Tensor, Tensor | None]:
        velocity, trace = super().__call__(z, theta, divergence)
        return velocity.flatten(0, 1), trace

    def _into_first(self, z: Tensor) -> Tensor:
        return torch.bmm(z.unflatten(0, (self.network.n_members, -1)), self.layers[0][0])

    def _out_of_last(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.layers[-1][0])

    def _total(self, x: Tensor) -> Tensor:
        return x.sum(2).flatten()


def _side_by_side(x: Tensor, weight: Tensor) -> Tensor:
    """Units (members, n, width) of all members times one matrix (d, members * width), shape (n, d)."""
    n = x.shape[1]
    x = x.transpose(0, 1).reshape(n, -1)
    if n < MIN_COLUMNS:
        x = torch.constant_pad_nd(x, (0, 0, 0, MIN_COLUMNS - n))
    return (weight @ x.T).T[:n]


def _summed(x: Tensor) -> Tensor:
    """Sums over members and units of (members, n, units): faster one axis after the other."""
    return x.sum(2).sum(0)
