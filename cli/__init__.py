"""The ``whispergpt`` command, a file per subcommand."""
