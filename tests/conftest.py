"""Settings shared by all tests."""

import os

# One thread per test process: two test workers share two cores, and sums stay reproducible.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
