"""Subcommands of ``whispergpt train measure``."""
