"""Networks (z, theta) -> velocity, with their divergence.

Examples
--------
>>> import numpy as np
>>> from skdiffusion.diffusion.networks import FilmEnsemble, NetworkField
>>> network = FilmEnsemble(3, (16, 16), n_members=2)
>>> network.initialize(np.random.default_rng(0), 1.0, 1.0)
>>> velocity, divergence = NetworkField(network)(np.zeros((5, 3)), 0.4, True)
>>> velocity.shape, divergence.shape
((5, 3), (5,))
"""

from skdiffusion.diffusion.networks._activations import ACTIVATIONS, Activation
from skdiffusion.diffusion.networks._field import NetworkField
from skdiffusion.diffusion.networks._film import FilmEnsemble, MembersEvaluator, noise_features
from skdiffusion.diffusion.networks._flow_passes import FlowPasses
from skdiffusion.diffusion.networks._masked import MaskedNetwork
from skdiffusion.diffusion.networks._passes import Passes
from skdiffusion.diffusion.networks._reference import GaussianReference, LevelMatrices, WhitenedField, times
from skdiffusion.diffusion.networks._split import Split, SplitGaussians
from skdiffusion.diffusion.networks._split_field import NUMBER, SplitField, SplitsField, split_network
from skdiffusion.diffusion.networks._switched import SwitchedNetworks

__all__ = [
    "ACTIVATIONS", "Activation", "FilmEnsemble", "FlowPasses", "GaussianReference", "LevelMatrices", "MaskedNetwork",
    "MembersEvaluator", "NetworkField", "NUMBER", "Passes", "Split", "SplitField", "SplitGaussians", "SplitsField",
    "SwitchedNetworks", "WhitenedField", "noise_features", "split_network", "times",
]  # fmt: skip
