"""A region of servers on paper: the real scheduler, capacity and admission of each, and a clock that is not the wall's.

``python -m whispergpt.benchmarks.simulation --machines 20`` plays listeners at a region of simulated machines.
``python -m whispergpt.benchmarks.simulation.measure`` measures what a machine costs. docs/scaling.md says what came of
it, and how far it is true.
"""
