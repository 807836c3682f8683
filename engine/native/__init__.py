"""The frame step as compiled kernels for CPUs: their sources are in ``src/``, ``frame_program`` lists their calls.

It may import ``engine.model`` and ``engine.checkpoints``.
"""
