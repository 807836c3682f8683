"""What a user could build instead, at the same sizes, on the same machine, each at its best.

The rules, for all of them:

- A decoder-only model of this model's stack (layers, widths, heads, one shared key and value head, window) draws one
  coarse code per frame at temperature 1, its cache full; then a decoder of EnCodec's sizes makes the samples.
- They do less than this engine: no spectrogram branch, no mel slices and no fine stage (the finer codes are given,
  free), no seeds, no scheduler. Weight normalisation is folded, which their users mostly do not do.
- All cores. Float32 and bfloat16, eager and compiled by Inductor, and several chunk lengths are tried in short probes;
  the best of them gets the full run, in batches of the size that makes the most of it, several in turn if that is
  better than one. Compilation is not counted.
- The run is the one that this engine has to pass (``benchmarks/realtime.py``). Playback starts after the first chunk,
  whatever its length, so long chunks cost nothing here, though a listener would wait for them.
"""

MISSING = 3
"""Exit status of a peer's process where a package is missing."""
