"""A step of training or of the solver waits for nothing on the device: no number of it is read on the host."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import NetworkField
from tests.test_processes import OBJECTIVES, network_and_sets

READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero", "aten::masked_select"}


class Reads(TorchDispatchMode):
    """Counts the operations whose result the host has to wait for."""

    def __init__(self):
        super().__init__()
        self.found, self.n_operations = Counter(), 0

    def __torch_dispatch__(self, function, types, arguments=(), given=None):
        self.n_operations += 1
        if (name := function.name().split(".")[0]) in READS:
            self.found[name] += 1
        return function(*arguments, **(given or {}))


def reads(task):
    with Reads() as mode, torch.no_grad():
        task()
    assert mode.n_operations > 0
    return mode.found


def test_reads_are_seen():
    assert reads(lambda: float(torch.ones(3).sum())) == {"aten::_local_scalar_dense": 1}


@pytest.mark.parametrize("name", ["stable_targets", "given_entries", "splits"])
def test_a_step_of_training_reads_nothing(name):
    objective = OBJECTIVES[name]()
    objective.gradient(0, 9)
    assert reads(lambda: [objective.gradient(step, 9) for step in (1, 2)]) == {}


@pytest.mark.parametrize("call", ["log_prob", "draw"])
def test_more_steps_of_the_solver_read_no_more(call):
    network, _ = network_and_sets()
    z = np.random.default_rng(0).standard_normal((50, 3))
    found = []
    for n_steps in (8, 24):
        flow = ProbabilityFlow(
            NetworkField(network.to(torch.float32)), 0.01, 1.52, density_steps=n_steps, sample_steps=n_steps,
            tolerance=0.0,
        )  # fmt: skip
        found.append(reads(lambda: getattr(flow, call)(z)))  # noqa: B023
    assert found[0] == found[1]
