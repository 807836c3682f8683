"""The frame step as compiled kernels for CPUs: ``src/`` has them, ``frame_program`` lays them out as the modules say.

It may import ``engine.model`` and ``engine.checkpoints``.
"""
