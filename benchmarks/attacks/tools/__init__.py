"""Tools that attacks share: the server that is attacked, its footprint, visitors, what they hear, and prompts."""
