"""prevail_py: a formal-verification research toolkit for eBPF."""

__version__ = "0.1.0.dev0"
