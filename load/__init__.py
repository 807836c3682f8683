"""The load generator: listeners who come, hear, and go, and a report of what they heard.

``plan`` says who comes when, ``voices`` what they send, ``listener`` is one of them, ``playback_clock`` their ears,
``crowd`` sends them out on time, ``heard`` sums up, ``report`` and ``page`` tell it.
"""
