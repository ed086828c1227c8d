"""What a fleet costs, on paper: the figures that the part ``fleet`` has measured, in proportion. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from bench.report import Cell, Table

HOSTS = 10_000
SERVERS = 3
QUERIES = 2  # that a host holds
AGENTS_STAGGER = 1 + 1 / 32  # of a wait: the agent adds up to a sixteenth, at random; our own tenth is as often less
WAITS = (30.0, 120.0)
HEAD = ("", "leader", "each of two followers", "each server with `consul.stale: true`")
NOTE = """\
Made of the run's figures (`bench/paper.py`), in proportion to queries held, or to queries per second. A third of the
agents speaks to each server; followers pass on to the leader what they may not answer. At rest; the nodes have one
service with one check each. With `stale` no query is passed on, and each server does what the leader does now; that is
not measured."""


def markdown(facts: Mapping[str, float]) -> str:
    """Write the table."""
    if not facts:
        return "Not measured yet."
    return Table(f"{HOSTS:,} hosts", HEAD, rows(facts), NOTE).markdown()


def rows(facts: Mapping[str, float]) -> list[list[Cell]]:
    """Return the rows: one for what is held, and one for what is asked at each wait."""
    queries, share = float(QUERIES * HOSTS), 1 / SERVERS
    found: list[list[Cell]] = [
        ["queries held, or passed on", *(round(queries * part) for part in (1.0, share, share))],
        ["goroutines", *_held(facts, "goroutines", queries, share)],
        ["memory for them, MiB", *(_mib(one) for one in _held(facts, "kib", queries, share))],
    ]
    # How many times a query is asked for each wait that passes: more than once, when its first answer is in vain.
    times = facts["asked"] * facts["wait"] * AGENTS_STAGGER / facts["held"]
    for wait in WAITS:
        asked = queries * times / (wait * AGENTS_STAGGER)
        cpu = {role: facts[f"cpu_{role}"] / facts["asked"] * asked / 100 for role in ("leader", "passing")}
        kib = facts["rpc_kib"] / facts["asked"] * asked
        found += [
            [f"`wait: {wait:g}s`: requests per second", *(asked * part for part in (1.0, share, share))],
            ["… cores that they take", cpu["leader"], cpu["passing"] * share, cpu["leader"] * share],
            ["… MiB per second to and from agents", *(_mib(kib * part) for part in (share, share, share))],
        ]
    if "herd_busiest" in facts:
        most = facts["herd_busiest"] * queries / facts["held"]
        found.append(["a leader is lost: requests per second in the busiest tenth of one", most, None, None])
    return found


def _held(facts: Mapping[str, float], what: str, queries: float, share: float) -> list[float]:
    leader, passing = facts[f"{what}_leader"], facts[f"{what}_passing"]
    return [queries * leader, queries * share * passing, queries * share * leader]


def _mib(kib: float) -> float:
    return kib / 1024
