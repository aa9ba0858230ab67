"""Samples of the table, and values that are kept so that a long experiment goes on where it stopped."""

import json

import numpy as np


def entry(paper, claim, predicted, measured, passed):
    """A sample of the table: what a paper or a derivation says, what was measured, and whether they agree."""
    return {"paper": paper, "claim": claim, "predicted": predicted, "measured": measured, "passed": bool(passed)}


def spread(values, digits=3):
    """Mean and standard error, as text."""
    values = np.asarray(values, dtype=float)
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{values.mean():.{digits}f} ({values.std(ddof=1) / np.sqrt(len(values)):.{digits}f})"


class Kept:
    """Values by name in a JSON-lines file; a value that is there is not computed again."""

    def __init__(self, path):
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.values = {json.dumps(r["name"]): r["value"] for r in map(json.loads, lines)}

    def __call__(self, function, *name):
        """The value of ``function(*name[1:])``; `name` starts with that of the experiment."""
        key = json.dumps(name)
        if key not in self.values:
            self.values[key] = function(*name[1:])
            with self.path.open("a") as file:
                file.write(json.dumps({"name": name, "value": self.values[key]}) + "\n")
        return self.values[key]
