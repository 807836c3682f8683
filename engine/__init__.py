"""The streaming generation engine. It knows nothing of HTTP.

Its public classes: ``whispergpt.engine.engine.Engine`` loads a model and steps its streams. A
``whispergpt.engine.streams.scheduler.Stream`` starts from a ``whispergpt.engine.prompts.prompt.Prompt`` and is sampled
by ``whispergpt.engine.stream_plan.SamplingParams``. ``engine/model/frame_step.py`` computes one frame; read it first.
"""
