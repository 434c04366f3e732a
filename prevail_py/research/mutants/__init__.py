"""Mutation testing of the verifier: small wrong changes, and whether the tests notice.

``python -m prevail_py.research.mutants`` draws mutants of transfer functions, joins, widening, inclusion, ``assume``,
the partition, the memory model and the checks by a fixed seed, runs the tests against each in a process of its own, and
writes the table ``docs/measurements/mutants.md``.  What survives is argued in ``survivors.toml``.

- :mod:`~prevail_py.research.mutants.places`: which functions are mutated, and as what (``classes.toml``, data);
- :mod:`~prevail_py.research.mutants.changes`: the changes there are to a function, from its syntax tree;
- :mod:`~prevail_py.research.mutants.draw`: the choice of mutants;
- :mod:`~prevail_py.research.mutants.trial`: the process that runs the tests against one mutant;
- :mod:`~prevail_py.research.mutants.campaign`: all of them, in parallel, resumed where it was interrupted;
- :mod:`~prevail_py.research.mutants.table`: the results as a document.
"""
