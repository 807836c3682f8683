"""What tests share. A module of this folder is the first that a test process imports, before torch and numpy."""

import os

# Several processes of tests compute at once. With more threads they would mostly wait for each other, and waiting
# threads compute: training a small codec beside other tests took 41 s of processor time in two threads, 5 s in one.
os.environ["OMP_NUM_THREADS"] = "1"
