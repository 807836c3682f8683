"""The streaming generation engine. It knows nothing of HTTP.

``Engine.load`` a model, ``encode_prompt`` some audio, start a ``Stream`` with ``SamplingParams`` and ``step``.
The heart is ``engine/frame_step.py``.
"""
