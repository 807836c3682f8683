"""All that is to be known about one GPU, measured in less than four minutes: ``make gpu``.

``python -m whispergpt.benchmarks.gpu`` runs parts in the order of their value, each in a process of its own with a
deadline, and writes ``build/gpu.json`` after each. A part that fails, or lacks a package, costs its own figures alone.
It works without a network, and with any PyTorch that has CUDA and Triton.
"""
