"""Control-flow graphs: built once, read by everything that follows the flow of a program.

``builder`` makes a ``graph`` of a program and says why where there is none.  ``wto`` orders it for iteration, ``loops``
and ``dominators`` explain its shape, ``liveness`` (on ``effects``) says what may be forgotten, ``dot`` draws it.

>>> from prevail_py.cfg.builder import build
>>> from prevail_py.cfg.wto import weak_topological_order
>>> from prevail_py.research.families import nested_loops
>>> graph = build(nested_loops(2))
>>> print(graph)
nested_loops_2: slots 0-13
  0: slots 0-1 -> 1
  1: slots 2-2 -> 2
  2: slots 3-7 -> 3, 2 taken
  3: slots 8-11 -> 4, 1 taken
  4: slots 12-13
>>> print(weak_topological_order(graph.entry))
0 (1 (2) 3) 4
"""

if __name__ != "prevail_py.cfg":
    raise ImportError("import prevail_py.cfg: the top-level link 'cfg' is there for people to find the package")
