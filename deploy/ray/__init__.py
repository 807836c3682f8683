"""A fleet on Ray Serve: each replica is a whole server. ``docs/fleet.md`` says how to run it."""
