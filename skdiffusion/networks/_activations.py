"""Activations with the two derivatives that training and the divergence need.

Each entry is ``(value(p), slope(p), backward(grad, p))``, where ``backward`` is ``grad * slope(p)`` in
as few passes over memory as torch allows.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F


class Activation(NamedTuple):
    """An activation: its value, its slope, and the product of a gradient with the slope."""

    value: object
    slope: object
    backward: object


def _silu_slope(p):
    s = torch.sigmoid(p)
    return s * (1 + p * (1 - s))


def _tanh_slope(p):
    return 1 - torch.tanh(p) ** 2


def _relu_slope(p):
    return (p > 0).to(p.dtype)


def _gelu_slope(p):
    return 0.5 * (1 + torch.erf(p * 0.7071067811865476)) + p * torch.exp(-0.5 * p * p) * 0.3989422804014327


ACTIVATIONS = {
    "silu": Activation(F.silu, _silu_slope, torch.ops.aten.silu_backward),
    "gelu": Activation(F.gelu, _gelu_slope, torch.ops.aten.gelu_backward),
    "tanh": Activation(torch.tanh, _tanh_slope, lambda grad, p: grad * _tanh_slope(p)),
    "relu": Activation(F.relu, _relu_slope, lambda grad, p: grad * (p > 0)),
}
