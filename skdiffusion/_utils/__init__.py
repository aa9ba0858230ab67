"""Small helpers that every room shares: validation, frames, numerics, progress, threads, files."""
