"""Corpora: sets of eBPF objects as data, what is expected of their programs, and what every verifier says of them.

- :mod:`~prevail_py.research.corpora.registry`: which corpora there are; ``corpora.toml`` is the list
- :mod:`~prevail_py.research.corpora.sources`: from an entry of the registry to object files on disk
- :mod:`~prevail_py.research.corpora.expectations`: what the annotations in an object expect
- :mod:`~prevail_py.research.corpora.runs`: verify everything, in parallel; a row for each program
- :mod:`~prevail_py.research.corpora.frames`: rows as a DataFrame, as JSON and parquet; comparison of two runs
- :mod:`~prevail_py.research.corpora.classes`: what kind of fault an expected message of the kernel is about
- :mod:`~prevail_py.research.corpora.tables`: agreements and disagreements, as text and Markdown
"""
