"""The measurement of trust: one round."""

from __future__ import annotations

import pytest

from prevail_py.host.service.lockdown import missing
from prevail_py.research.bench_trust import main


@pytest.mark.skipif(bool(missing()), reason=f"lockdown: {'; '.join(missing())}")
def test_one_round(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("xdp_") and "," not in line] == [
        "xdp_counter", "xdp_firewall", "xdp_parser", "xdp_options",
    ]  # fmt: skip
    assert "starting a verifier" in lines[-2]
    assert "hashing and checking" in lines[-1]
