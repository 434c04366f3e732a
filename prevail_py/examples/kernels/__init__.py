"""The kernels that native code is measured on (:mod:`prevail_py.research.bench_jit`): C and objects."""
