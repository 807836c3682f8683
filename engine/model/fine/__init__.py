"""Finds a frame's finer codes behind its coarse one: the fine stage, of which there are two kinds."""
