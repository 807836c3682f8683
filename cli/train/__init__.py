"""Subcommands of ``whispergpt train``."""
