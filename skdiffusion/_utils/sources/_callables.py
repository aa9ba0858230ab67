"""Callables that return an iterator of chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from skdiffusion._utils.frames import frame_library, joined_frames
from skdiffusion._utils.sources._source import Source


class CallableSource(Source):
    """What a callable returns, anew for every pass: chunks of samples, arrays or frames."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function

    def chunks(self) -> Iterator[Any]:
        made = self.function()
        if isinstance(made, (str, bytes)) or frame_library(made) is not None or not hasattr(made, "__iter__"):
            raise TypeError(
                "The callable X must return an iterator of chunks, arrays or frames of some samples each. Got "
                f"{type(made).__name__} instead."
            )
        for chunk in made:
            yield chunk if hasattr(chunk, "shape") else np.asarray(chunk)

    def whole(self) -> Any:
        chunks = list(self.chunks())
        if not chunks:
            raise ValueError("The callable X returned no chunk of samples: return at least one.")
        return np.concatenate(chunks) if frame_library(chunks[0]) is None else joined_frames(chunks)
