"""Data that need care: how far fits of known densities are from the truth; the page of this name says what is measured.
"""
