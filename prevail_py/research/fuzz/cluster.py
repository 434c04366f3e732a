"""The joblib backends on which campaigns run: what each needs before it can be named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

__all__ = ["BACKENDS", "cluster"]

BACKENDS = ("loky", "multiprocessing", "dask", "ray")
"""The backends that :func:`cluster` knows; any other that is registered with joblib may be named, too."""


@contextmanager
def cluster(backend: str | None, jobs: int, scheduler: str | None = None) -> Iterator[None]:
    """Connect to the cluster of a backend: at the address ``scheduler``, else one of ``jobs`` processes made here.

    Raises ValueError where the package for it is not installed, or nobody answers there.
    """
    if scheduler is not None and backend not in ("dask", "ray"):
        raise ValueError("only dask and ray have a scheduler")
    match backend:
        case "dask":
            distributed = _need("distributed", "dask")
            try:
                client = (
                    distributed.Client(n_workers=jobs, threads_per_worker=1, dashboard_address=None)
                    if scheduler is None
                    else distributed.Client(scheduler, timeout="10s")
                )
            except (OSError, TimeoutError, ValueError) as error:
                raise ValueError(f"no dask scheduler at {scheduler}: {' '.join(str(error).split())}") from error
            with client:
                yield
        case "ray":
            ray = _need("ray", "ray")
            _need("ray.util.joblib", "ray").register_ray()
            ray.init(address=scheduler, num_cpus=None if scheduler else jobs, log_to_driver=False)
            try:
                yield
            finally:
                ray.shutdown()
        case _:
            yield


def _need(module: str, backend: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        extra = " (pip install 'prevail-py[dask]')" if backend == "dask" else ""
        raise ValueError(f"the backend {backend} needs the package {module.split('.')[0]}{extra}") from error
