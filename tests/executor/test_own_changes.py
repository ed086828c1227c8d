"""Which of the kernel's events tell of what we have changed ourselves."""

from __future__ import annotations

import ipaddress

import pytest

from consulcast.executor import ifaddr
from consulcast.executor.own_changes import OwnChanges
from consulcast.executor.requests import Order

OURS, DEVICE = 4242, 7


def added(text: str, device: int = DEVICE) -> Order:
    return ifaddr.new(device, ipaddress.ip_interface(text), scope=0, flags=0x202, proto=204, label="", preferred=0)


def removed(text: str) -> Order:
    return ifaddr.delete(DEVICE, ipaddress.ip_interface(text))


V4, V6 = "203.0.113.1/32", "2001:db8::1/128"


@pytest.fixture
def own() -> OwnChanges:
    return OwnChanges(lambda: OURS)


def heard(own: OwnChanges, order: Order, sender: int = 0) -> bool:
    """Tell whether the event that follows from such an order is taken for ours."""
    return own.made(order.kind, sender, order.body)


def test_event_that_names_its_sender_is_ours_if_it_names_us(own: OwnChanges) -> None:
    assert heard(own, added(V4), OURS)
    assert not heard(own, added(V4), 99)
    assert not heard(own, added(V4))
    assert not heard(OwnChanges(lambda: 0), added(V4)), "0 is the kernel's own"


def test_ipv6_address_that_we_add_is_ours_as_often_as_the_kernel_tells_of_it(own: OwnChanges) -> None:
    own.expect([added(V6)])
    assert [heard(own, added(V6)) for _ in range(3)] == [True] * 3
    assert not heard(own, added("2001:db8::2/128"))
    assert not heard(own, added("2001:db8::1/64"))
    assert not heard(own, added(V6, DEVICE + 1))


def test_ipv6_address_that_we_remove_is_ours_once(own: OwnChanges) -> None:
    own.expect([added(V6)])
    own.expect([removed(V6)])
    assert heard(own, removed(V6))
    assert not heard(own, removed(V6)), "somebody has put it there again, and taken it away"
    assert not heard(own, added(V6))


def test_ipv6_address_that_somebody_else_takes_away_is_told_and_so_is_what_he_does_then(own: OwnChanges) -> None:
    own.expect([added(V6)])
    assert not heard(own, removed(V6))
    assert not heard(own, added(V6))


def test_removal_that_is_refused_or_whose_event_was_lost_hides_no_other(own: OwnChanges) -> None:
    own.expect([removed(V6)])
    own.refused([removed(V6)])
    assert not heard(own, removed(V6))
    own.expect([removed(V6)])
    own.lost()
    assert not heard(own, removed(V6))
    own.expect([removed(V6)])
    own.expect([added(V6)])
    assert not heard(own, removed(V6))


def test_address_that_was_there_already_is_not_one_that_we_have_added(own: OwnChanges) -> None:
    own.expect([added(V6)])
    own.refused([added(V6)])
    assert not heard(own, added(V6))
