"""Verdicts for readers: the JSON documents and the text that the command line prints."""
