"""Alternatives to this engine that a user could build, at the same sizes, on the same machine, each in its best form.

The rules for all peers:

- A decoder-only model has this model's stack: layers, widths, heads, one shared key and value head, window. With a full
  cache it draws one coarse code per frame at temperature 1. A decoder of EnCodec's sizes then makes the samples.
- They do less than this engine: no spectrogram branch, no mel slices, no fine stage (the finer codes are given), no
  seeds, no scheduler. Weight normalisation is folded, although users of these packages rarely do so.
- They use all cores. Short probes try float32 and bfloat16, eager and compiled by Inductor, and several chunk lengths.
  The best variant gets the full run at its best batch size, in several batches if one is slower. Compilation time is
  not counted.
- The run is the same as this engine's (``benchmarks/realtime.py``). Playback starts after the first chunk of any
  length, so long chunks cost nothing here, although a listener would wait for them.
"""

MISSING = 3
"""Exit status of a peer's process if a package is missing."""
