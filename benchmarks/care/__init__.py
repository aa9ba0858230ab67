"""Data that need care: how far fits of known densities are from the truth, as the page of this name reports."""
