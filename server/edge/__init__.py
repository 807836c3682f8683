"""Bounds HTTP and WebSocket connections before a request is known, and wraps every request.

The protocols subclass private parts of uvicorn. It may import ``server.access`` and ``server.admission``, and no route.
"""
