"""Translations for properties: texts of some that a host may have, and sets of them."""

from __future__ import annotations

import ipaddress

from hypothesis import strategies as st

from consulcast.model import Translation

_PORTS = st.sampled_from([1, 53, 443, 8053, 65535])
_VIPS = {4: ["203.0.113.10/32", "203.0.113.11/32", "198.18.7.0/24"], 6: ["2001:db8:53::10/128", "2001:db8:7::/64"]}
_TO = {4: "198.51.100.1", 6: "2001:db8::1"}


def _translation(drawn: tuple[int, int, str, int, int]) -> Translation:
    version, number, protocol, port, to_port = drawn
    vip = _VIPS[version][number % len(_VIPS[version])]
    return Translation(ipaddress.ip_interface(vip), protocol, port, ipaddress.ip_address(_TO[version]), to_port)


translations = st.tuples(
    st.sampled_from([4, 6]), st.integers(0, 2), st.sampled_from(["tcp", "udp"]), _PORTS, _PORTS
).map(_translation)
tables = st.lists(translations, max_size=8, unique_by=lambda item: item.key).map(frozenset)
