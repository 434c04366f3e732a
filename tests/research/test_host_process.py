"""A host that does not come up says why and where, rather than leave its caller without one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prevail_py.research.host_process import start_host


@pytest.mark.parametrize(("name", "why"), [("none/host.sock", "No such file"), ("x" * 120, "File name too long")])
def test_what_a_host_says_that_cannot_listen(tmp_path: Path, name: str, why: str) -> None:
    socket = tmp_path / name
    place = re.escape(str(socket))
    with pytest.raises(RuntimeError, match=rf"^no host at {place}: prevail-py: hostd: {place}: {why}"):
        start_host(socket, "--store", "none", "--btf", "none")
