"""Networks (z, theta) -> velocity, with their divergence."""

from skdiffusion.networks._activations import ACTIVATIONS
from skdiffusion.networks._field import NetworkField
from skdiffusion.networks._film import FilmEnsemble
from skdiffusion.networks._masked import MaskedNetwork
from skdiffusion.networks._passes import Passes
from skdiffusion.networks._reference import GaussianReference
from skdiffusion.networks._switched import SwitchedNetworks

__all__ = [
    "ACTIVATIONS", "FilmEnsemble", "GaussianReference", "MaskedNetwork", "NetworkField", "Passes", "SwitchedNetworks"
]  # fmt: skip
