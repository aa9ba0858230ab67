"""Files of fitted estimators that hold numbers only: safetensors with a JSON description, and no code.

A file is one safetensors container. Its metadata describe the estimator: every object by the name of its class and
the attributes that the class states (see `saved_classes`); arrays are tensors of the container. Loading makes these
objects, sets these attributes and runs nothing else. A digest of the whole shows a damaged file.

skops.io (0.16) is not used, because it cannot write torch tensors, and because it sets whatever attributes a file names
on every class that the reader has declared as trusted: for a default fit more than a dozen private classes. Here every
class states what a file holds of it and anything else is refused, so that a reader has nothing to review.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

import skdiffusion
from skdiffusion._utils.encoding import NOT_ENCODED, Decoder, Encoder, SchemaError
from skdiffusion._utils.saved_classes import ESTIMATORS

FORMAT = 2
KEY = "skdiffusion"


def save(estimator: Any, path: str | os.PathLike) -> None:
    """Write a fitted estimator to a file that runs no code when it is loaded.

    The file appears under its name only when it is complete: an interrupted save leaves an earlier file as it was.

    Parameters
    ----------
    estimator : fitted estimator of skdiffusion
    path : str or path-like

    Raises
    ------
    TypeError
        If a part of the estimator is not skdiffusion's, as an estimator of another library: use joblib.
    NotFittedError
        If the estimator is not fitted.
    """
    from safetensors.numpy import save as to_bytes
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)
    encoder = Encoder()
    document = {"format": FORMAT, "version": skdiffusion.__version__, "root": encoder(estimator)}
    document["objects"] = encoder.objects
    document["digest"] = digest(document, encoder.tensors)
    _write_whole(Path(path), to_bytes(encoder.tensors, metadata={KEY: json.dumps(document)}))


def load(path: str | os.PathLike) -> Any:
    """Read an estimator that `save` wrote. Runs no code of the file.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    estimator
        With the same densities and samples, bit for bit; on the CPU, wherever it was fitted.

    Raises
    ------
    ValueError
        If the file is truncated, damaged, not one of skdiffusion's, or written by a version with other formats or
        classes.
    FileNotFoundError

    Warns
    -----
    InconsistentVersionWarning
        If another version of skdiffusion has written the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import skdiffusion
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
    >>> path = Path(tempfile.mkdtemp()) / "est.skd"
    >>> est.save(path)
    >>> bool((skdiffusion.load(path).score_samples(X) == est.score_samples(X)).all())
    True
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"The 'path' must be a string or a path. Got {path!r} instead.")
    document, tensors = _read(path)
    _check(path, document, tensors)
    try:
        estimator = Decoder(document["objects"], tensors)(document["root"])
    except SchemaError as error:
        raise ValueError(
            f"{path} was written by skdiffusion {document['version']} and does not match the classes of this "
            f"version, {skdiffusion.__version__}: {error}. Fit the estimator again, or load the file with the version "
            "that wrote it."
        ) from error
    except NOT_ENCODED as error:
        raise ValueError(f"{path} does not describe an estimator of skdiffusion: {error}.") from error
    if type(estimator).__name__ not in ESTIMATORS:
        raise ValueError(f"{path} does not hold an estimator of skdiffusion.")
    # As unpickling does: it warns of another version.
    estimator.__setstate__({**vars(estimator), "_skdiffusion_version": document["version"]})
    return estimator


def digest(document: dict, tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 of a description and its tensors."""
    h = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(tensors):
        h.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        h.update(tensors[name].tobytes())
    return h.hexdigest()


def _read(path: str | os.PathLike) -> tuple[Any, dict[str, np.ndarray]]:
    """Description and tensors of a container."""
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # Python's own errors for a missing file, a folder or a lack of rights
        pass
    try:
        with safe_open(str(path), framework="numpy") as file:
            document = json.loads((file.metadata() or {})[KEY])
            return document, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} is not a whole file of skdiffusion: truncated, damaged, or another kind.") from error


def _check(path: str | os.PathLike, document: Any, tensors: dict[str, np.ndarray]) -> None:
    """Raise ValueError for a description of another format, or one that does not have its digest."""
    known = {"format": int, "version": str}
    if not isinstance(document, dict) or not all(isinstance(document.get(k), kind) for k, kind in known.items()):
        raise ValueError(f"{path} is not a file of skdiffusion.")
    written = f"{path} was written by skdiffusion {document['version']}, in format {document['format']}"
    if document["format"] > FORMAT:
        raise ValueError(f"{written}, which is newer than this version reads: upgrade skdiffusion to load it.")
    if document["format"] < FORMAT:
        raise ValueError(
            f"{written}, which this version no longer reads: fit the estimator again, or load the file with the "
            "version that wrote it."
        )
    if document.pop("digest", None) != digest(document, tensors):
        raise ValueError(f"{path} is damaged: its contents do not match their digest.")


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file under its name only when it is complete."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
