"""A short run of random faults, the same ones each time; `make chaos` makes long ones."""

from __future__ import annotations

from integration.chaos.run import run

SEED, FAULTS = 20, 30


def test_a_short_random_run_goes_by_without_anything_wrong() -> None:
    said: list[str] = []
    summary = run(SEED, FAULTS, said.append)
    assert summary.wrong == [], "\n".join(said)
    assert summary.faults.total() >= FAULTS
    assert summary.unexpected_withdrawals == 0
