"""Write the golden files anew."""

import warnings

from tests.golden import CASES, path, write
from tests.test_snapshot import machine

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    write(machine())
    for name in CASES:
        print(f"{path(name).stat().st_size / 1024:6.1f} kB  {name}")
