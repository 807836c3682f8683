"""The streaming generation engine. It knows nothing of HTTP.

Its public face: ``engine.engine.Engine`` loads a model and steps its streams, ``engine.prompt.Prompt`` is what they
start from, ``engine.messages.SamplingParams`` how they are drawn, ``engine.scheduler.Stream`` one of them. The heart is
``engine/frame_step.py``.
"""
