"""Networks (z, theta) -> velocity, with their divergence."""

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
