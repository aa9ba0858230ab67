"""Activations with the derivatives that training, the divergence and the gradient of a log-density need."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Activation(NamedTuple):
    """An activation function and its derivative, which share what is expensive, mostly one exponential.

    Parameters
    ----------
    value : callable
        ``value(p, out=None, kept=None) -> (activation, kept)``: `kept` is what the slope wants. As arguments `out` and
        `kept` are buffers of the shape of p to write to, or None.
    slope : callable
        ``slope(p, value, kept, out=None) -> derivative``, from what the value returned. Its `out` may be its `kept`.
    alone : callable, optional
        ``alone(p) -> activation`` in one pass, for where no slope is asked. None takes `value`.
    curve : callable, optional
        ``curve(p, value, kept) -> second derivative``, from what the value returned. Without it gradients of
        log-densities take automatic differentiation.
    """

    value: Callable[..., tuple[Tensor, Tensor | None]]
    slope: Callable[..., Tensor]
    alone: Callable[[Tensor], Tensor] | None = None
    curve: Callable[..., Tensor] | None = None

    def of(self, p: Tensor) -> Tensor:
        """The activation of p where no slope is asked."""
        return self.alone(p) if self.alone else self.value(p)[0]


def _silu(p: Tensor, out: Tensor | None = None, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
    kept = torch.sigmoid(p, out=kept)
    return torch.mul(p, kept, out=out), kept


def _silu_slope(p: Tensor, value: Tensor, kept: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.addcmul(kept, kept, value, value=-1, out=out).add_(value)


def _silu_curve(p: Tensor, value: Tensor, kept: Tensor) -> Tensor:
    # (1 - kept) (2 kept + value (1 - 2 kept)) in one new array
    inner = torch.addcmul(kept, kept, value, value=-1).mul_(2).add_(value)
    return inner.addcmul_(inner, kept, value=-1)


def _gelu(p: Tensor, out: Tensor | None = None, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
    kept = torch.special.ndtr(p, out=kept)
    return torch.mul(p, kept, out=out), kept


def _gelu_slope(p: Tensor, value: Tensor, kept: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.addcmul(kept, p, torch.exp(-0.5 * p * p), value=0.3989422804014327, out=out)


def _gelu_curve(p: Tensor, value: Tensor, kept: Tensor) -> Tensor:
    return torch.exp(-0.5 * p * p).mul_(0.3989422804014327).mul_(2 - p * p)


def _tanh(p: Tensor, out: Tensor | None = None, kept: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    return torch.tanh(p, out=out), kept


def _tanh_slope(p: Tensor, value: Tensor, kept: Tensor | None, out: Tensor | None = None) -> Tensor:
    return torch.addcmul(torch.ones_like(value), value, value, value=-1, out=out)


def _tanh_curve(p: Tensor, value: Tensor, kept: Tensor | None) -> Tensor:
    return 2 * value * (value * value - 1)


def _relu(p: Tensor, out: Tensor | None = None, kept: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    return torch.clamp(p, min=0, out=out), kept


def _relu_slope(p: Tensor, value: Tensor, kept: Tensor | None, out: Tensor | None = None) -> Tensor:
    return torch.sign(value, out=out)


def _relu_curve(p: Tensor, value: Tensor, kept: Tensor | None) -> Tensor:
    return torch.zeros_like(value)


ACTIVATIONS = {
    "silu": Activation(_silu, _silu_slope, torch.nn.functional.silu, _silu_curve),
    "gelu": Activation(_gelu, _gelu_slope, curve=_gelu_curve),
    "tanh": Activation(_tanh, _tanh_slope, curve=_tanh_curve),
    "relu": Activation(_relu, _relu_slope, curve=_relu_curve),
}
