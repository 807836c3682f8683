"""A simulated region of servers: each has the real scheduler, capacity and admission, on a simulated clock.

``python -m whispergpt.benchmarks.simulation --machines 20`` plays listeners at a region of simulated machines.
``python -m whispergpt.benchmarks.simulation.measure`` measures the costs of a machine. docs/scaling.md has the results
and their limits.
"""
