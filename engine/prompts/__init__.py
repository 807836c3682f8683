"""Takes prompts in beside the frame steps, and keeps those that may be sent again.

It may import the model and the backends.
"""
