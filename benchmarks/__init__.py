"""Side-by-side measurements of skdiffusion and its peers; each module is one command."""

import os

# Before NumPy and torch are imported: every measurement is on one thread.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("POT_BACKEND_DISABLE_PYTORCH", "1")
