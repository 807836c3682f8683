"""What tests share. A module of this folder is the first that a test process imports, before torch and numpy."""

import gc
import os

# Several processes of tests compute at once. With more threads they would mostly wait for each other, and waiting
# threads compute: training a small codec beside other tests took 41 s of processor time in two threads, 5 s in one.
os.environ["OMP_NUM_THREADS"] = "1"

# librosa's functions are compiled anew in each run and hardly called: without optimization that takes two thirds of the
# time.
os.environ["NUMBA_OPT"] = "0"

# Looking for garbage takes a quarter of the time of imports, which leave hardly any; it begins when the tests are
# collected (tests/support/workers.py).
gc.disable()
