"""The streaming generation engine. It knows nothing of HTTP.

Its public face: ``whispergpt.engine.engine.Engine`` loads a model and steps its streams,
``whispergpt.engine.prompts.prompt.Prompt`` is what they start from, ``whispergpt.engine.messages.SamplingParams`` how
they are drawn, ``whispergpt.engine.streams.scheduler.Stream`` one of them. The heart is ``engine/model/frame_step.py``.
"""
