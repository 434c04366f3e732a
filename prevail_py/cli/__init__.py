"""The command line: ``prevail-py COMMAND``, one module per command."""
