"""Who takes away what we put back, again and again, is not to be outrun."""

from __future__ import annotations

from consulcast.losses import Losses


def test_first_losses_are_repaired_at_once_the_next_with_growing_pauses() -> None:
    losses: Losses[str] = Losses()
    pauses = [losses.pause("a", float(second)) for second in range(11)]
    assert pauses == [0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30]
    assert losses.pause("b", 11.0) == 0


def test_after_a_quiet_time_they_are_forgotten() -> None:
    losses: Losses[str] = Losses()
    for second in range(5):
        losses.pause("a", float(second))
    assert losses.pause("a", 70.0) == 0
