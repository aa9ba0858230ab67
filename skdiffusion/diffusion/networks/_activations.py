"""Activations with the derivative that training and the divergence need.

Both functions of an entry share what is expensive, mostly one exponential: ``value(p, out, kept)`` returns the
activation and whatever its slope wants to keep, and ``slope(p, value, kept, out)`` returns the derivative. `out` and
the `kept` of a value are buffers of the shape of p to write to, or None; the `out` of a slope may be its `kept`.
"""

from typing import NamedTuple

import torch


class Activation(NamedTuple):
    """An activation: its value and, from what the value kept, its slope; and the value alone in one pass, or None."""

    value: object
    slope: object
    alone: object = None

    def of(self, p):
        """The value of p where no slope is asked."""
        return self.alone(p) if self.alone else self.value(p)[0]


def _silu(p, out=None, kept=None):
    kept = torch.sigmoid(p, out=kept)
    return torch.mul(p, kept, out=out), kept


def _silu_slope(p, value, kept, out=None):
    return torch.addcmul(kept, kept, value, value=-1, out=out).add_(value)


def _gelu(p, out=None, kept=None):
    kept = torch.special.ndtr(p, out=kept)
    return torch.mul(p, kept, out=out), kept


def _gelu_slope(p, value, kept, out=None):
    return torch.addcmul(kept, p, torch.exp(-0.5 * p * p), value=0.3989422804014327, out=out)


def _tanh(p, out=None, kept=None):
    return torch.tanh(p, out=out), kept


def _tanh_slope(p, value, kept, out=None):
    return torch.addcmul(torch.ones_like(value), value, value, value=-1, out=out)


def _relu(p, out=None, kept=None):
    return torch.clamp(p, min=0, out=out), kept


def _relu_slope(p, value, kept, out=None):
    return torch.sign(value, out=out)


ACTIVATIONS = {
    "silu": Activation(_silu, _silu_slope, torch.nn.functional.silu),
    "gelu": Activation(_gelu, _gelu_slope),
    "tanh": Activation(_tanh, _tanh_slope),
    "relu": Activation(_relu, _relu_slope),
}
