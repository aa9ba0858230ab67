"""Files of an earlier commit are read, and give the numbers that were recorded beside them."""

import json

import numpy as np
import pytest
from safetensors import safe_open

from skdiffusion import load
from skdiffusion._utils.persistence import KEY
from skdiffusion._utils.saved_classes import CLASSES
from tests.golden import CASES, RECORD, measured, path
from tests.test_snapshot import machine

MAX_BYTES = 100_000
TOLERANCE = 1e-6  # of the numbers of a file on other machines: nothing is trained


def classes_in(name):
    """Names of the classes whose objects a file holds."""
    with safe_open(str(path(name)), framework="numpy") as file:
        return {entry["class"] for entry in json.loads(file.metadata()[KEY])["objects"]}


def test_the_golden_files_hold_every_class():
    assert set().union(*map(classes_in, CASES)) == set(CLASSES)


@pytest.mark.parametrize("name", CASES)
def test_a_golden_file_is_small(name):
    assert path(name).stat().st_size < MAX_BYTES


@pytest.mark.filterwarnings("ignore::skdiffusion.exceptions.InconsistentVersionWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_golden_file_gives_the_numbers_beside_it(name):
    record = json.loads(RECORD.read_text(encoding="utf8"))
    there = record["fits"][name]
    X = np.array(there.pop("X"))
    here = measured(load(path(name)), X)
    if record["machine"] == machine():
        assert here == there
    else:
        assert set(here) == set(there)
        for key, values in here.items():
            np.testing.assert_allclose(values, there[key], rtol=TOLERANCE, atol=TOLERANCE, err_msg=key)
