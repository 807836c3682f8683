"""A check of the GPU kernels that needs no GPU: compilation, results in Triton's interpreter, and counted work.

``python -m whispergpt.benchmarks.gpu_check`` writes ``build/gpu-check.json``.
"""
