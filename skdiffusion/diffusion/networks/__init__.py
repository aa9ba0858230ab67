"""Networks (z, theta) -> velocity, with their divergence."""

from skdiffusion.diffusion.networks._activations import ACTIVATIONS, Activation
from skdiffusion.diffusion.networks._field import NetworkField
from skdiffusion.diffusion.networks._film import FilmEnsemble, noise_features
from skdiffusion.diffusion.networks._masked import MaskedNetwork
from skdiffusion.diffusion.networks._passes import Passes
from skdiffusion.diffusion.networks._reference import GaussianReference, WhitenedField
from skdiffusion.diffusion.networks._switched import SwitchedNetworks

__all__ = [
    "ACTIVATIONS", "Activation", "FilmEnsemble", "GaussianReference", "MaskedNetwork", "NetworkField", "Passes",
    "SwitchedNetworks", "WhitenedField", "noise_features",
]  # fmt: skip
