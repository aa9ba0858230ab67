"""A trained ensemble as a field of the flow: float64 samples in, float64 velocities out, in blocks of fixed sizes."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdiffusion._utils.blocks import padded_blocks, write
from skdiffusion._utils.protocols import Array, OptionalArray, VelocityField
from skdiffusion.diffusion.networks import _bits
from skdiffusion.diffusion.networks._activations import ACTIVATIONS
from skdiffusion.diffusion.networks._film import FilmEnsemble, FilmEvaluator
from skdiffusion.diffusion.networks._folded import FoldedFlow
from skdiffusion.diffusion.networks._reference import GaussianReference, WhitenedField, times
from skdiffusion.diffusion.networks._switched import SwitchedNetworks

PRECISIONS = ("auto", "single", "double")

_proved: dict[tuple, tuple[int, ...]] = {}  # what `proved_sizes` has found


class NetworkField(VelocityField):
    """Mean velocity of an ensemble with its divergence, on blocks of float64 samples.

    Parameters
    ----------
    network : FilmEnsemble or SwitchedNetworks
        Its parameters are copied.
    noise_limit : float or None, default=None
        To which the predicted noise of every feature is clipped.
    reference : GaussianReference or None, default=None
        Distribution of the samples before noise. None is the standard normal distribution, that of whitened samples.
    precision : {"auto", "single", "double"}, default="auto"
        Of the network. "auto" is single precision where a trial of the architecture gives a sample the same bits in
        every block, else double.
    """

    _saved = ("network", "noise_limit", "reference", "precision")

    def __init__(
        self,
        network: FilmEnsemble | SwitchedNetworks,
        noise_limit: float | None = None,
        reference: GaussianReference | None = None,
        precision: str = "auto",
    ):
        if precision not in PRECISIONS:
            raise ValueError(f"The 'precision' must be one of {PRECISIONS}. Got {precision!r} instead.")
        self.noise_limit, self.reference, self.precision = noise_limit, reference, precision
        self._prepare(network)

    def _prepare(self, network: FilmEnsemble | SwitchedNetworks) -> None:
        """Choose the arithmetic and the sizes of blocks, and make the evaluator."""
        dtype, self._sizes = self._arithmetic(network)
        with torch.no_grad():
            # A copy starts at an aligned address, as that of a trial does.
            self.network = network.copy(dtype, network.device)
            self._evaluators = [part.evaluator() for part in self.network.parts]
        self._folded = self._folded_flows()
        self.edges = self.network.edges

    def _folded_flows(self) -> list[FoldedFlow]:
        """The flows of the evaluators on arrays; none where one of them cannot be folded."""
        if self.noise_limit is not None or not all(FoldedFlow.can_fold(evaluator) for evaluator in self._evaluators):
            return []
        return [FoldedFlow(evaluator, self.reference) for evaluator in self._evaluators]

    def _arithmetic(self, network: FilmEnsemble | SwitchedNetworks) -> tuple[torch.dtype, tuple[int, ...]]:
        """Type of the network and sizes of blocks, rising."""
        choices = _bits.BLOCK_SIZES.get(network.device.type, _bits.OTHER_BLOCK_SIZES)
        if self.precision == "single":
            return torch.float32, choices[0]
        # The divergence of a clipped sample takes its Jacobian, whose rounding depends on the block.
        if self.precision == "auto" and self.noise_limit is None:
            for sizes in choices:
                good = [proved_sizes(part, self.reference, sizes) for part in network.parts]
                if all(good):
                    return torch.float32, tuple(size for size in sizes if all(size in g for g in good))
        return torch.float64, choices[0]  # where the bits of a sample differ by 1e-15 from block to block

    def with_network(self, network: FilmEnsemble | SwitchedNetworks) -> NetworkField:
        """The field of another network."""
        return NetworkField(network, self.noise_limit, self.reference, self.precision)

    def _variant(self, **changes: Any) -> NetworkField:
        """This field with some of its attributes changed."""
        other = object.__new__(NetworkField)
        other.__dict__.update(self.__dict__, **changes)
        return other

    def _evaluator(self, theta: float) -> FilmEvaluator:
        """The evaluator of the interval of an angle."""
        return self._evaluators[bisect.bisect_right(self.edges, theta)]

    def at(self, theta: float) -> NetworkField:
        if not self.edges:
            return self
        place = bisect.bisect_right(self.edges, theta)
        folded = self._folded[place : place + 1]
        return self._variant(
            network=self.network.at(theta), _evaluators=[self._evaluators[place]], _folded=folded, edges=()
        )

    def place(self, w: np.ndarray) -> np.ndarray:
        return w if self.reference is None else w @ self.reference.root

    @property
    def tensor_flow_field(self) -> VelocityField:
        """The flow in coordinates of unit covariance, on tensors."""
        return self if self.reference is None else WhitenedField(self, self.reference)

    @property
    def flow_field(self) -> VelocityField:
        return self.array_flow_field if self._on_cpu else self.tensor_flow_field

    @property
    def array_flow_field(self) -> VelocityField:
        """The flow in coordinates of unit covariance, on arrays."""
        if self._folded:
            return SwitchedFields(self._folded, self.edges) if self.edges else self._folded[0]
        return ArrayField(self.tensor_flow_field, self.network.device)

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Sizes of the blocks, rising."""
        return self._sizes

    @property
    def _on_cpu(self) -> bool:
        return self.network.device.type == "cpu"

    def blocks(self, samples: np.ndarray) -> Iterator[tuple[slice, Array]]:
        for where, block in padded_blocks(samples, self._sizes):
            yield where, block if self._on_cpu else self._tensor(block)

    def _tensor(self, block: Array) -> Tensor:
        """A block on the device of the network."""
        return torch.as_tensor(block, device=self.network.device)

    def __call__(self, z: Array, theta: float, divergence: bool = False) -> tuple[Array, OptionalArray]:
        """Velocity and divergence in float64, of an array of samples or of a block."""
        if isinstance(z, np.ndarray):
            return self._by_block(z, theta, divergence)
        velocity, trace = self._evaluator(theta)(z.to(self.network.dtype), theta, divergence)
        velocity, trace = velocity.double(), None if trace is None else trace.double()
        if self.reference is not None and self.reference.relative:
            level = self.reference.matrices(theta, z)
            velocity, trace = velocity + times(z, level.velocity), None if trace is None else trace + level.trace
        if self.noise_limit is None:
            return velocity, trace
        return self._clipped(z, theta, velocity, trace, self.noise_limit)

    def pull_back(self, z: Tensor, theta: float, by_velocity: Tensor, by_trace: Tensor) -> Tensor:
        if self.noise_limit is not None:
            return super().pull_back(z, theta, by_velocity, by_trace)
        given = (part.to(self.network.dtype) for part in (by_velocity, by_trace))
        out = self._evaluator(theta).pull_back(z.to(self.network.dtype), theta, *given).double()
        if self.reference is None or not self.reference.relative:
            return out
        return out + times(by_velocity, self.reference.matrices(theta, z).velocity)

    def _by_block(self, z: np.ndarray, theta: float, divergence: bool) -> tuple[np.ndarray, np.ndarray | None]:
        velocity, trace = np.empty(z.shape), np.empty(len(z)) if divergence else None
        with torch.no_grad():
            for where, block in self.blocks(z):
                block_velocity, block_trace = self(self._tensor(block), theta, divergence)
                write(velocity, where, block_velocity)
                if trace is not None:
                    write(trace, where, block_trace)
        return velocity, trace

    def _clipped(
        self, z: Tensor, theta: float, velocity: Tensor, trace: Tensor | None, limit: float
    ) -> tuple[Tensor, Tensor | None]:
        """Velocity and divergence with the predicted noise within a limit."""
        cos, sin = math.cos(theta), math.sin(theta)
        noise = z * sin - velocity * cos
        beyond = noise.abs() > limit
        samples = beyond.any(1)
        if not samples.any():
            return velocity, trace
        velocity = torch.where(beyond, (z * sin - noise.clamp(-limit, limit)) / cos, velocity)
        if trace is not None:
            # Where the noise is clipped, the velocity of that feature changes by tan(theta) with it, and with no other.
            own = self._free_jacobian(z[samples], theta).diagonal(dim1=1, dim2=2)
            trace = trace.index_add(0, samples.nonzero()[:, 0], ((sin / cos - own) * beyond[samples]).sum(1))
        return velocity, trace

    def jacobian(self, z: np.ndarray, theta: float) -> np.ndarray:
        """Jacobian of the velocity in float64."""
        n, d = z.shape
        out = np.empty((n, d, d))
        with torch.no_grad():
            for where, samples in self.blocks(z):
                block = self._tensor(samples)
                # In small pieces: a sample has n_features tangents.
                pieces = block.split(max(1, len(block) // d))
                jacobian = torch.cat([self._free_jacobian(piece, theta) for piece in pieces])
                if self.noise_limit is not None:
                    jacobian = self._clipped_jacobian(block, theta, jacobian, self.noise_limit)
                write(out, where, jacobian)
        return out

    def _free_jacobian(self, z: Tensor, theta: float) -> Tensor:
        """Jacobian of the velocity before clipping."""
        jacobian = self._evaluator(theta).jacobian(z.to(self.network.dtype), theta).double()
        if self.reference is None or not self.reference.relative:
            return jacobian
        return jacobian + self.reference.matrices(theta, z).velocity[: z.shape[1], : z.shape[1]]

    def _clipped_jacobian(self, z: Tensor, theta: float, jacobian: Tensor, limit: float) -> Tensor:
        """Jacobian of the velocity with the predicted noise within a limit, from the one before clipping."""
        velocity, _ = self._variant(noise_limit=None)(z, theta)
        beyond = (z * math.sin(theta) - velocity * math.cos(theta)).abs() > limit
        clipped = math.tan(theta) * torch.eye(z.shape[1], dtype=jacobian.dtype, device=jacobian.device)
        return torch.where(beyond[:, :, None], clipped, jacobian)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "network": self.network.to(device="cpu"), "noise_limit": self.noise_limit, "reference": self.reference,
            "precision": self.precision,
        }  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The evaluator holds products of the parameters; arithmetic and sizes of blocks depend on the machine.
        self.noise_limit, self.reference = state.get("noise_limit"), state.get("reference")
        self.precision = state.get("precision", "auto")
        self._prepare(state["network"])


class SwitchedFields(VelocityField):
    """Fields of intervals of angles, with the edges between them."""

    def __init__(self, fields: Sequence[VelocityField], edges: tuple[float, ...]):
        self.fields, self.edges = fields, edges

    def at(self, theta: float) -> VelocityField:
        return self.fields[bisect.bisect_right(self.edges, theta)]

    def __call__(self, z: Array, theta: float, divergence: bool = False) -> tuple[Array, OptionalArray]:
        return self.at(theta)(z, theta, divergence)


class ArrayField(VelocityField):
    """A field on tensors as one on arrays, which share their memory on the CPU.

    A solver adds up many small arrays, which costs a fraction of the same sums of tensors.
    """

    def __init__(self, field: VelocityField, device: torch.device):
        self.field, self.device, self.edges = field, device, field.edges

    def at(self, theta: float) -> ArrayField:
        return ArrayField(self.field.at(theta), self.device)

    def __call__(self, z: np.ndarray, theta: float, divergence: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        velocity, trace = self.field(torch.as_tensor(z, device=self.device), theta, divergence)
        return velocity.cpu().numpy(), None if trace is None else trace.cpu().numpy()

    def pull_back(self, z: np.ndarray, theta: float, by_velocity: np.ndarray, by_trace: np.ndarray) -> np.ndarray:
        arrays = (torch.as_tensor(part, device=self.device) for part in (z, by_velocity, by_trace))
        samples, *given = arrays
        return self.field.pull_back(samples, theta, *given).cpu().numpy()


def proved_sizes(network: FilmEnsemble, reference: GaussianReference | None, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """`sizes_of_same_bits` of the flow of an architecture, tried once for each device and setting of torch."""
    relative = None if reference is None else reference.relative
    shapes = network.n_features, network.hidden_layer_sizes, ACTIVATIONS[network.activation], network.n_members
    settings = str(network.device), torch.get_num_threads(), torch.get_float32_matmul_precision()
    key = shapes, relative, settings, sizes
    if key not in _proved:
        trial, d = network.with_flat(_bits.trial_weights(network)), network.n_features
        trial_reference = None if relative is None else GaussianReference(_bits.trial_correlation(d), relative)
        field = NetworkField(trial, None, trial_reference, precision="single")
        z = torch.as_tensor(np.random.default_rng(0).standard_normal((sizes[-1], d)), device=network.device)
        with torch.no_grad():
            sizes = _bits.sizes_of_same_bits(field.tensor_flow_field, z, sizes)
            if field._folded and sizes:
                sizes = _bits.sizes_of_same_bits(_bits.OnTensors(field.array_flow_field), z, sizes)
        _proved[key] = sizes
    return _proved[key]
