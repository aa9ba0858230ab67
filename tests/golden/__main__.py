"""Write the golden files of some cases anew: ``python -m tests.golden name ...``."""

import sys
import warnings

from tests.golden import CASES, path, write
from tests.test_snapshot import machine

if __name__ == "__main__":
    if unknown := [name for name in sys.argv[1:] if name not in CASES]:
        raise SystemExit(f"There are no cases {unknown}: name some of {list(CASES)}, or none to record numbers alone.")
    warnings.simplefilter("ignore")
    write(machine(), sys.argv[1:])
    for name in sys.argv[1:]:
        print(f"{path(name).stat().st_size / 1024:6.1f} kB  {name}")
