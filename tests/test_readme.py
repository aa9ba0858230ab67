"""The README's example runs as it stands."""

import re
from pathlib import Path

import numpy as np

README = Path(__file__).parent.parent / "README.md"


def test_the_examples_run():
    names = {}
    for code in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf8"), flags=re.S):
        exec(compile(code, str(README), "exec"), names)
    est, test = names["est"], names["test"]
    assert np.isfinite(est.score(test))
    assert est.sample(1000).shape == (1000, 13)
    assert est.to_latent(test).shape == test.shape
    assert names["manifold"].intrinsic_dimension_ == 2
    assert np.median(names["torus"].distance(names["manifold"].sample(500))) < 1e-3
    assert np.isfinite(names["search"].best_score_)
