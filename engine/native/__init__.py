"""The frame step as compiled kernels for CPUs: `src/` has them, `program.py` lays them out as `frame_step.py` says."""
