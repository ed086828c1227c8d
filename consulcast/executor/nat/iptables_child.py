"""One run of python-iptables for one family: ``python -m consulcast.executor.nat.iptables_child 4|6``.

Standard input: ``read``, ``remove``, or the desired rules as a JSON list of texts. Standard output: what stands then,
in the same form, or ``null`` for something that is not as it is made here. What is right already is not committed.

In a process of its own, because python-iptables puts a pipe in the place of standard output while it looks at rules,
because libxtables ends the process at some errors, and because it registers DNAT for the first family only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from consulcast.executor.nat import rules
from consulcast.executor.nat.rules import CHAIN, OWNER
from consulcast.model import Translation

HOOKS = ("PREROUTING", "OUTPUT")  # from others, and from this host itself
LOCK = "/run/xtables.lock"  # of the iptables commands too
PATIENCE = 5.0  # seconds for the lock
_PR_SET_PDEATHSIG = 1
ATTEMPTS = 5  # at a commit that meets somebody else's, who has not taken the lock


class Table:
    """The nat table of one family, as one snapshot."""

    def __init__(self, version: int) -> None:
        import iptc

        self._iptc = iptc
        self._v6 = version == 6
        kind = iptc.Table6 if self._v6 else iptc.Table
        # A look for another table would make it.
        kind.existing_table_names.update({name: name == "nat" for name in kind.ALL})
        self._table = kind(kind.NAT, autocommit=False)  # with autocommit the kernel's errors are swallowed

    def refresh(self) -> None:
        """Read the table anew, forgetting what was not committed."""
        self._table.refresh()

    def read(self) -> list[str] | None:
        """Read our chain; ``None``: something of ours stands, but not as ``make`` makes it."""
        jumps = [self._jumps(hook) for hook in HOOKS]
        if not self._table.is_chain(CHAIN):
            return None if any(jumps) else []
        # Everything is read before anything is changed: rule objects point into memory that a change frees.
        found = [self._read_rule(rule) for rule in self._iptc.Chain(self._table, CHAIN).rules]
        texts = [text for text in found if text is not None]
        return texts if texts == found and jumps == [1, 1] else None

    def make(self, wanted: list[Translation]) -> None:
        """Make our chain exactly this, reached once from each hook, in one commit."""
        if not self._table.is_chain(CHAIN):
            self._table.create_chain(CHAIN)
        chain = self._iptc.Chain(self._table, CHAIN)
        chain.flush()
        for item in wanted:
            chain.append_rule(self._rule(item))
        for hook in HOOKS:
            self._set_jumps(hook, 1)
        self._table.commit()

    def remove(self) -> None:
        """Remove our chain and what leads to it, in one commit; an empty chain too."""
        if not self._table.is_chain(CHAIN) and not any(map(self._jumps, HOOKS)):
            return
        for hook in HOOKS:
            self._set_jumps(hook, 0)
        if self._table.is_chain(CHAIN):
            self._iptc.Chain(self._table, CHAIN).flush()
            self._table.delete_chain(CHAIN)
        self._table.commit()

    def _jumps(self, hook: str) -> int:
        return sum(
            rule.target is not None and rule.target.name == CHAIN for rule in self._iptc.Chain(self._table, hook).rules
        )

    def _set_jumps(self, hook: str, count: int) -> None:
        """Leave an only jump where it is: others may have put theirs around it."""
        chain = self._iptc.Chain(self._table, hook)
        found = self._jumps(hook)
        if found == count:
            return
        while found:
            doomed = next(rule for rule in chain.rules if rule.target is not None and rule.target.name == CHAIN)
            chain.delete_rule(doomed)
            found -= 1
        if count:
            chain.append_rule(self._finish(self._new_rule(), CHAIN))

    def _new_rule(self) -> Any:
        return self._iptc.Rule6() if self._v6 else self._iptc.Rule()

    def _finish(self, rule: Any, target: str) -> Any:
        rule.create_match("comment").comment = OWNER
        rule.target = self._iptc.Target(rule, target)
        return rule

    def _rule(self, item: Translation) -> Any:
        rule = self._new_rule()
        rule.dst = str(item.vip.network)
        rule.protocol = item.protocol
        rule.create_match(item.protocol).dport = str(item.port)
        address = f"[{item.to}]" if self._v6 else str(item.to)
        self._finish(rule, "DNAT").target.to_destination = f"{address}:{item.to_port}"
        return rule

    def _read_rule(self, rule: Any) -> str | None:
        """Write a rule as its translation; ``None``: it is none of ours."""
        found = self._iptc.easy.decode_iptc_rule(rule, ipv6=self._v6)
        found.pop("counters", None)
        try:
            protocol = found["protocol"]
            to, _, to_port = found["target"]["DNAT"]["to-destination"].rpartition(":")
            item = Translation(
                ipaddress.ip_interface(found["dst"]),
                protocol,
                int(found[protocol]["dport"]),
                ipaddress.ip_address(to.strip("[]")),
                int(to_port),
            )
            expected = {
                "dst": str(item.vip.network),
                "protocol": protocol,
                protocol: {"dport": str(item.port)},
                "comment": {"comment": OWNER},
                "target": {"DNAT": {"to-destination": f"{to}:{to_port}"}},
            }
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return rules.written(item) if found == expected else None


@contextlib.contextmanager
def lock(path: str = LOCK, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of all iptables commands: a table is read, changed and written back whole. Raises ``OSError``."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        raise OSError(errno.EACCES, f"{path} cannot be opened by this user: see docs/privileges.md") from None
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    why = f"{path} is held by another program for {patience:.0f} s"
                    raise OSError(errno.EAGAIN, why) from None
                time.sleep(0.005)
        yield
    finally:
        os.close(file)


def perform(table: Table, order: str) -> list[str] | None:
    """Do what standard input asks for, and tell what stands then."""
    if order == "remove":
        table.remove()
        return []
    standing = table.read()
    if order == "read":
        return standing
    wanted = rules.in_order(map(rules.read, json.loads(order)))
    texts = [rules.written(item) for item in wanted]
    # an empty chain stays, as an empty nft table does: what drains still needs conntrack
    if standing != texts:
        table.make(wanted)
    return texts


def main() -> None:
    """Run once."""
    # With the daemon dead, what was to be done while the lock was waited for is not to be done after the next start.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    order = sys.stdin.read().strip()
    try:
        with lock():
            table = Table(int(sys.argv[1]))
            answer = _persistently(table, order)
    except Exception as error:  # noqa: BLE001 - the daemon shows the operator this one line
        sys.exit(str(error) or type(error).__name__)
    json.dump(answer, sys.stdout)


def _persistently(table: Table, order: str) -> list[str] | None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return perform(table, order)
        except table._iptc.IPTCError as error:
            if "temporarily unavailable" not in str(error) or attempt == ATTEMPTS:
                raise
            time.sleep(0.01 * attempt)
            table.refresh()
    raise AssertionError("not reached")


if __name__ == "__main__":
    main()
