"""The VIPs' addresses, in a kernel that is a table of bytes. The real one's turn: integration/test_addresses.py."""

from __future__ import annotations

import errno
import ipaddress
import os
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import pytest

from consulcast.executor import addresses, ifaddr, routes
from consulcast.executor.addresses import OWNER_MARK, Addresses
from consulcast.executor.ifaddr import IfAddress
from consulcast.executor.kernel import Kernel, Link
from consulcast.executor.own_changes import OwnChanges
from consulcast.executor.protocols import Added, Found, KernelError
from consulcast.executor.requests import Order, Refused
from consulcast.model import Interface, Vip

T = TypeVar("T")
DEVICE = 7
FOREIGN = 3  # somebody else's mark


def vip(text: str) -> Interface:
    return Vip(ipaddress.ip_interface(text)).local


V4, V6, WHOLE4, WHOLE6 = map(vip, ("203.0.113.10/32", "2001:db8:53::10/128", "198.18.7.0/24", "2001:db8:7::/64"))


class FakeKernel:
    """Has addresses and routes, by what makes each the same as another; refuses what ``refused`` says."""

    def __init__(self) -> None:
        self.addresses: dict[object, bytes] = {}
        self.routes: dict[object, bytes] = {}
        self.refused: dict[Interface, int] = {}
        self.refuses_routes = 0
        self.down = ""
        self.own_changes = OwnChanges(lambda: 0)
        self.sent: list[Sequence[Order]] = []

    # -- for ``Addresses``: the kernel, and its socket ---------------------------------------------------------

    def device(self, name: str) -> int:
        return DEVICE

    def request(self, operation: Callable[[FakeKernel], T]) -> T:
        if self.down:
            raise KernelError(self.down)
        return operation(self)

    def dump(self, kind: int, body: bytes, wanted: Callable[[bytes], bool] = bool) -> list[bytes]:
        table = self.addresses if kind == ifaddr.GET else self.routes
        return [item for item in table.values() if item[0] == body[0] and wanted(item)]

    def order(self, orders: Sequence[Order]) -> list[Refused | None]:
        self.sent.append(orders)
        codes = map(self._order, orders)
        return [Refused(code, os.strerror(code)) if code else None for code in codes]

    def _order(self, order: Order) -> int:
        if order.kind in (24, 25):
            route = routes.read(order.body)
            assert route is not None
            if self.refuses_routes:
                return self.refuses_routes
            return self._change(self.routes, route.prefix, order, 24, errno.ESRCH)
        said = ifaddr.read(order.body)
        assert said is not None
        if self.refused.get(said.interface):
            return self.refused[said.interface]
        # IPv6 knows an address once, whatever its length
        key = said.packed if len(said.packed) == 16 else (said.packed, said.length)
        return self._change(self.addresses, key, order, 20, errno.EADDRNOTAVAIL)

    def _change(self, table: dict[object, bytes], key: object, order: Order, new: int, absent: int) -> int:
        if order.kind == new:
            return errno.EEXIST if table.setdefault(key, order.body) is not order.body else 0
        return 0 if table.pop(key, None) is not None else absent

    # -- for the tests -----------------------------------------------------------------------------------------

    def has(self, address: str, mark: int = FOREIGN, label: str = "", device: int = DEVICE) -> None:
        """Have an address that somebody else has put there."""
        item = ipaddress.ip_interface(address)
        order = ifaddr.new(device, item, scope=0, flags=0, proto=mark, label=label, preferred=ifaddr.FOR_EVER)
        self.addresses[device, address] = order.body
        assert self._change(self.addresses, item.packed if item.version == 6 else _key(item), order, 20, 0) == 0
        del self.addresses[device, address]

    def told(self, address: Interface) -> IfAddress:
        """Return what it has of an address."""
        said = ifaddr.read(self.addresses[address.packed if address.version == 6 else _key(address)])
        assert said is not None
        return said


def _key(address: Interface) -> tuple[bytes, int]:
    return address.packed, address.network.prefixlen


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def table(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> Addresses:
    monkeypatch.setattr(addresses, "link", lambda name: Link(DEVICE, True))
    monkeypatch.setattr(addresses, "_KEEPS_MARKS", True)
    return Addresses(cast(Kernel, kernel), "vips0")


def test_all_that_is_missing_is_asked_for_at_once(kernel: FakeKernel, table: Addresses) -> None:
    wanted = {vip(f"198.18.{number // 250}.{number % 250 + 1}/32"): "dns" for number in range(1000)}
    assert table.add(wanted).ours == wanted.keys()
    assert [len(orders) for orders in kernel.sent] == [1000]
    assert table.look() == Found(frozenset(wanted), frozenset(wanted))


def test_address_is_marked_labelled_and_no_source_of_the_hosts_own(kernel: FakeKernel, table: Addresses) -> None:
    table.add({V4: "dns; rm", V6: "dns"})
    assert (kernel.told(V4).proto, kernel.told(V4).label, kernel.told(V4).scope) == (OWNER_MARK, "vips0:dnsrm", 254)
    assert (kernel.told(V6).proto, kernel.told(V6).label, kernel.told(V6).preferred) == (OWNER_MARK, "", 0)


def test_what_is_refused_in_the_middle_has_its_own_reason_and_the_rest_is_there(
    kernel: FakeKernel, table: Addresses
) -> None:
    wanted = [vip(f"198.18.0.{number}/32") for number in range(1, 101)]
    kernel.refused = {wanted[40]: errno.EINVAL, wanted[99]: errno.ENOMEM}
    added = table.add(dict.fromkeys(wanted, "dns"))
    assert added.failures == {
        wanted[40]: "Invalid argument (errno 22)",
        wanted[99]: "Cannot allocate memory (errno 12)",
    }
    assert added.ours == set(wanted) - added.failures.keys() == table.owned()


def test_what_is_there_is_used_and_ours_only_if_it_is_marked(kernel: FakeKernel, table: Addresses) -> None:
    kernel.has("203.0.113.1/32", OWNER_MARK)
    kernel.has("203.0.113.2/32")
    ours, others = vip("203.0.113.1/32"), vip("203.0.113.2/32")
    added = table.add({ours: "dns", others: "dns", V4: "dns"})
    assert added == Added(frozenset({ours, V4}), {})
    assert table.remove([ours, others, V4]) == {}
    assert table.present() == {others}


def test_ipv6_address_of_another_length_is_not_the_one_that_is_wanted(kernel: FakeKernel, table: Addresses) -> None:
    kernel.has("2001:db8:53::10/64")
    added = table.add({V6: "dns", V4: "dns"})
    assert added.failures == {V6: "2001:db8:53::10 is on vips0 already, with another prefix length"}
    assert added.ours == {V4}


def test_addresses_of_other_devices_are_not_the_devices(kernel: FakeKernel, table: Addresses) -> None:
    kernel.has("203.0.113.1/32", OWNER_MARK, device=DEVICE + 1)
    assert table.look() == Found()


def test_whole_ipv6_prefix_gets_a_local_route_and_works_only_with_it(kernel: FakeKernel, table: Addresses) -> None:
    assert table.add({WHOLE6: "dns", WHOLE4: "dns"}).ours == {WHOLE6, WHOLE4}
    assert len(kernel.routes) == 1, "IPv4 has its own"
    assert table.look() == Found(frozenset({WHOLE4, WHOLE6}), frozenset({WHOLE4, WHOLE6}))
    kernel.routes.clear()
    assert table.look() == Found(frozenset({WHOLE4}), frozenset({WHOLE4, WHOLE6}))
    assert table.add({WHOLE6: "dns"}).failures == {}
    assert WHOLE6 in table.present()
    assert table.remove([WHOLE4, WHOLE6]) == {}
    assert (kernel.addresses, kernel.routes) == ({}, {})


def test_route_that_is_refused_fails_its_prefix_alone(kernel: FakeKernel, table: Addresses) -> None:
    kernel.refuses_routes = errno.EPERM
    added = table.add({WHOLE6: "dns", V6: "dns"})
    assert added == Added(frozenset({V6}), {WHOLE6: "Operation not permitted (errno 1)"})
    kernel.refuses_routes = 0
    assert table.add({WHOLE6: "dns"}).ours == {WHOLE6}
    kernel.refuses_routes = errno.EPERM
    assert table.remove([WHOLE6, V6]) == {WHOLE6: "Operation not permitted (errno 1)"}
    assert WHOLE6 in table.owned(), "it is tried again"


def test_route_alone_that_a_former_run_left_is_ours_to_remove(kernel: FakeKernel, table: Addresses) -> None:
    kernel.order([routes.new_local(DEVICE, WHOLE6, OWNER_MARK)])
    assert table.look() == Found(frozenset(), frozenset({WHOLE6}))
    assert table.remove([WHOLE6]) == {}
    assert kernel.routes == {}


def test_what_is_gone_already_is_no_failure_and_what_stays_is(kernel: FakeKernel, table: Addresses) -> None:
    table.add({V4: "dns", V6: "dns"})
    kernel.refused = {V4: errno.EADDRNOTAVAIL, V6: errno.EBUSY}
    assert table.remove([V4, V6]) == {V6: "Device or resource busy (errno 16)"}


def test_nothing_is_asked_for_when_nothing_is_wanted(kernel: FakeKernel, table: Addresses) -> None:
    assert table.add({}).failures == table.remove([]) == {}
    assert kernel.sent == []


def test_what_has_not_changed_is_not_taken_apart_again(
    kernel: FakeKernel, table: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.add({vip(f"198.18.0.{number}/32"): "dns" for number in range(1, 101)})
    read: list[bytes] = []
    real = ifaddr.read

    def counted(body: bytes) -> IfAddress | None:
        read.append(body)
        return real(body)

    monkeypatch.setattr(ifaddr, "read", counted)
    first = table.look()
    assert len(read) == 100
    read.clear()
    assert table.look() == first
    assert read == []
    kernel.has("203.0.113.1/32")
    read.clear()
    assert len(table.present()) == 101
    assert len(read) == 1


def test_address_that_was_added_is_the_same_object_when_it_is_read(table: Addresses) -> None:
    table.add({V4: "dns", V6: "dns"})
    assert {id(item) for item in table.present()} == {id(V4), id(V6)}


def test_device_that_is_made_anew_with_another_index_has_nothing(
    kernel: FakeKernel, table: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.add({V4: "dns"})
    assert table.owned() == {V4}
    monkeypatch.setattr(addresses, "link", lambda name: Link(DEVICE + 1, True))
    assert table.look() == Found()
    monkeypatch.setattr(addresses, "link", lambda name: None)
    assert "no network device 'vips0'" in table.look().trouble
    assert table.remove([V4]) == {}, "with the device all its addresses"


def test_device_that_is_down_is_trouble(table: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    table.add({V4: "dns"})
    monkeypatch.setattr(addresses, "link", lambda name: Link(DEVICE, False))
    assert table.look() == Found(frozenset({V4}), frozenset({V4}), "device vips0 is down: ip link set vips0 up")


def test_kernel_that_cannot_be_asked_is_an_error_and_forgets_nothing(kernel: FakeKernel, table: Addresses) -> None:
    table.add({V4: "dns"})
    table.look()
    kernel.down = "the kernel does not answer"
    for call in (table.look, lambda: table.add({V6: "dns"}), lambda: table.remove([V4])):
        with pytest.raises(KernelError, match="does not answer"):
            call()
    kernel.down = ""
    assert table.owned() == {V4}


def test_what_the_kernel_has_done_is_known_as_a_change_of_ours_and_what_it_refuses_is_not(
    kernel: FakeKernel, table: Addresses
) -> None:
    other = vip("2001:db8:53::11/128")
    kernel.refused = {other: errno.EPERM}
    table.add({V6: "dns", other: "dns"})
    ours, theirs = (kernel.sent[0][number].body for number in (0, 1))
    assert kernel.own_changes.made(ifaddr.NEW, 0, ours)
    assert not kernel.own_changes.made(ifaddr.NEW, 0, theirs)
    kernel.down = "the kernel does not answer"
    with pytest.raises(KernelError):
        table.add({other: "dns"})
    assert not kernel.own_changes.made(ifaddr.NEW, 0, theirs)


class OldKernel(FakeKernel):
    """A kernel without IFA_PROTO: it takes the attribute, and forgets it."""

    def dump(self, kind: int, body: bytes, wanted: Callable[[bytes], bool] = bool) -> list[bytes]:
        mark = b"\x05\x00\x0b\x00\xcc\x00\x00\x00"
        return [item.replace(mark, b"") for item in super().dump(kind, body, wanted)]


def test_on_an_older_kernel_ipv4_is_told_by_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = OldKernel()
    monkeypatch.setattr(addresses, "link", lambda name: Link(DEVICE, True))
    monkeypatch.setattr(addresses, "_KEEPS_MARKS", False)
    table = Addresses(cast(Kernel, kernel), "lo")
    kernel.has("203.0.113.1/32", OWNER_MARK, "lo:mine")
    table.add({V4: "dns", V6: "dns"})
    assert kernel.told(V4).label == "lo:consulcast"
    assert table.look() == Found(frozenset({V4, V6, vip("203.0.113.1/32")}), frozenset({V4}))
