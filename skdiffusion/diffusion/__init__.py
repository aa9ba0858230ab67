"""The diffusion model: noise schedules, networks, their training, the probability-flow ODE, densities and samples."""
