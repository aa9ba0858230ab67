"""A file that holds how far the training runs of a fit have come, for a fit that goes on where another has ended."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import torch

from skdiffusion._utils.collective import collective

FORMAT = 2


class Checkpoint:
    """The states of the training runs of a fit, in the order in which it comes to them.

    A state holds numbers and tensors; reading one runs no code of the file. Several processes share the file of the
    first.

    Parameters
    ----------
    path : str or path-like
    identity : str
        Of the samples and the parameters of the fit: no other fit can go on from the file.
    seed : int
        Of the fit, unless the file has one.
    """

    def __init__(self, path: str | os.PathLike, identity: str, seed: int):
        self.path, self.identity, self._n_begun = Path(path), identity, 0
        self.interrupted = False  # whether a run has ended before its time
        saved = collective().once(self._read)
        self.seed: int = saved["seed"] if saved else seed
        self._runs: list[dict[str, Any]] = saved["runs"] if saved else []

    def begin(self) -> dict[str, Any] | None:
        """The state in which the next training run of the fit was left; None if it was not reached."""
        self._n_begun += 1
        return self._runs[self._n_begun - 1] if self._n_begun <= len(self._runs) else None

    def keep(self, state: dict[str, Any]) -> None:
        """Write the state of the run that was begun last; an earlier file stays until the new one is whole."""
        self._runs[self._n_begun - 1 :] = [state]
        collective().once(self._write)

    def close(self) -> None:
        """Remove the file of a fit that is whole; that of an interrupted one stays."""
        if not self.interrupted:
            collective().once(lambda: self.path.unlink(missing_ok=True))

    def _read(self) -> dict[str, Any] | None:
        if not self.path.parent.is_dir():
            raise ValueError(
                f"The 'checkpoint' option names a file in {self.path.parent}, which is no folder: make it."
            )
        if not self.path.exists():
            return None
        remedy = "delete the file to start anew, or give another path to the 'checkpoint' option"
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            known = saved["format"], saved["identity"]
        except Exception as error:  # torch names no class for damaged files
            raise ValueError(f"{self.path} is no whole checkpoint of a fit: {remedy}.") from error
        if known != (FORMAT, self.identity):
            raise ValueError(
                f"{self.path} is the checkpoint of another fit, whose samples, parameters or version of skdiffusion "
                f"were others: {remedy}."
            )
        return saved

    def _write(self) -> None:
        document = {"format": FORMAT, "identity": self.identity, "seed": self.seed, "runs": self._runs}
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.part")
        try:
            torch.save(document, temporary)
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
