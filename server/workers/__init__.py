"""A server of several front-end processes: the hub starts the engines and front ends, and has what they share.

It may import every other room.
"""
