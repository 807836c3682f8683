"""Sound quality of trained codecs and models: measures by published packages on held-out recordings.

docs/measuring.md explains each measure. The packages are the extra ``measures``; each is imported only by the function
that uses it, so that training works without them.
"""
