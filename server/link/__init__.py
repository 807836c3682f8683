"""Starts a process for the engine of each device, restarts it when it ends, and talks to it.

It may import the engine's messages, and no other part of the engine that computes.
"""
