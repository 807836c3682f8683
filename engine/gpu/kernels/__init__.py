"""The kernels, one noun a file.

Each begins with its contract: what a program of its grid computes, and for which rows.
"""
