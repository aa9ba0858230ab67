"""Samples that need not fit into memory: where they lie, and how they are read part by part.

A source is a NumPy memmap, a Parquet path or `pyarrow.dataset`, a dask array or frame, or a callable that returns an
iterator of chunks. The libraries are imported by whoever has such an object already.
"""

from skdiffusion._utils.sources._arrays import ArraySource, FrameSource
from skdiffusion._utils.sources._numbers import ChunkReader
from skdiffusion._utils.sources._source import PartedSource, Source
from skdiffusion._utils.sources._which import source_of

__all__ = ["ArraySource", "ChunkReader", "FrameSource", "PartedSource", "Source", "source_of"]
