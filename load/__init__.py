"""The load generator behind ``whispergpt load``: listeners for a server, and a report of what they heard.

``plan`` draws the visits, ``voices`` cuts their prompts, ``crowd`` starts each ``listener`` on time. ``record``
sums up, ``report`` and ``page`` present the results. ``engine/playback_clock.py`` finds gaps in playback.
"""
