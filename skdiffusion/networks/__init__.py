"""Networks (z, theta) -> velocity, with their divergence."""

from skdiffusion.networks._activations import ACTIVATIONS
from skdiffusion.networks._field import NetworkField
from skdiffusion.networks._film import FilmEnsemble

__all__ = ["ACTIVATIONS", "FilmEnsemble", "NetworkField"]
