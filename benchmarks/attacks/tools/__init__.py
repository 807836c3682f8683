"""Tools that attacks share: the server, its footprint, listeners, checks of what they heard, and prompts."""
