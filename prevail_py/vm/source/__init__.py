"""The generated-source engine: a program becomes Python functions, which are compiled once and run many times."""
