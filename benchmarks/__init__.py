"""Measurements of this server: the bench and its peers, attacks, long runs, and a simulated region of servers."""
