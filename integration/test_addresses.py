"""The VIPs' addresses in the real kernel: whose they are, and what they are not used for."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest

from integration.lab import Host, Lab

V4, V6 = "203.0.113.10/32", "2001:db8:53::10/128"

SCRIPT = """
from gevent import monkey; monkey.patch_all()
import ipaddress, json, os, sys
from consulcast.executor.addresses import Addresses
from consulcast.executor.kernel import Kernel
verb, device, *texts = sys.argv[1:]
kernel = Kernel()
table = Addresses(kernel, device)
wanted = [ipaddress.ip_interface(text) for text in texts]
arguments = {"add": [dict.fromkeys(wanted, "dns")], "remove": [wanted]}.get(verb, [])
result = getattr(table, verb)(*arguments)
if verb == "add":
    result = result.failures
print(json.dumps({str(k): v for k, v in result.items()} if isinstance(result, dict) else sorted(map(str, result))))
sys.stdout.flush()
os._exit(0)  # as the daemon does
"""


MANY = [
    f"2001:db8:100::{number:x}/128" if number % 2 else f"198.18.{number // 250}.{number % 250 + 1}/32"
    for number in range(5000)
]

# What the scripts below begin with.
PREPARED = """
from gevent import monkey; monkey.patch_all()
import ipaddress, json, os, sys
from functools import partial
from consulcast.executor import ifaddr
from consulcast.executor.addresses import Addresses
from consulcast.executor.kernel import Kernel
from consulcast.executor.requests import Requests
from consulcast.model import Vip
many = [Vip(ipaddress.ip_interface(text)).local for text in json.load(open(sys.argv[1]))]
table = Addresses(Kernel(), "lo")
def end(**found):
    print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)
"""

ALL_AT_ONCE = """
table.look()
added = table.add(dict.fromkeys(many, "dns"))
found = table.look()
again = table.add(dict.fromkeys(many, "dns"))
removed = table.remove(many)
end(failures=len(added.failures) + len(again.failures) + len(removed), ours=len(added.ours), again=len(again.ours),
    read=found.ours == found.present - {ipaddress.ip_interface("127.0.0.1/8"), ipaddress.ip_interface("::1/128")}
         == set(many), left=len(table.owned()))
"""

MIXED = """
added = table.add(dict.fromkeys(many, "dns"))
end(failures={str(item): why for item, why in added.failures.items()},
    ours=sorted(map(str, added.ours)), owned=sorted(map(str, table.owned())))
"""

# Somebody takes an address away while the kernel is in the midst of telling what there is.
INTERRUPTED = """
table.look()
table.add(dict.fromkeys(many, "dns"))
asked, gone, real, others = [], [], Requests._hear, Requests()
others._hear = partial(real, others)
def hear(self, first, count):
    asked.append(first)
    for number, answer in enumerate(real(self, first, count)):
        if number == 100 and len(gone) < 2:
            gone.append(many[len(gone)])
            assert others.order([ifaddr.delete(1, gone[-1])]) == [None]
        yield answer
Requests._hear = hear
found = table.look()
end(asked=len(asked), as_it_is=found.ours == set(many[2:]))
"""

# The kernel tells of each change at once, so by the time that we have slept all of it is heard.
HEARD = """
import gevent
from consulcast.executor.device_events import DeviceEvents
told = []
kernel = Kernel()
table = Addresses(kernel, "lo")
DeviceEvents("lo", kernel.own_changes, lambda kind: told.append(str(kind)), gevent.spawn).start()
gevent.sleep(0)
for item in many[:4]:
    table.add({item: "dns"})
    table.remove([item])
    table.add({item: "dns"})
table.add(dict.fromkeys(many, "dns"))
table.remove(many[2:])
gevent.sleep(0.5)
ours = len(told)
others = Requests()
for item in many[:2]:
    others.order([ifaddr.delete(1, item)])
    gevent.sleep(0.2)
end(ours=ours, others=told[ours:])
"""


def prepared(host: Host, script: str, *addresses: str) -> Any:
    """Run a script with these addresses on a host, and return what it found."""
    file = host.lab.dir / "addresses.json"
    file.write_text(json.dumps(addresses))
    return json.loads(host.run(sys.executable, "-c", PREPARED + script, str(file)))


def table(host: Host, verb: str, *addresses: str, device: str = "lo") -> Any:
    """Call one method of ``Addresses`` on a host."""
    return json.loads(host.run(sys.executable, "-c", SCRIPT, verb, device, *addresses))


def test_added_twice_and_removed_twice_is_added_once_and_removed_once(lab: Lab) -> None:
    host = lab.host("host")
    for _ in range(2):
        assert table(host, "add", V4, V6) == {}
        assert table(host, "owned") == [V6, V4]
    for _ in range(2):
        assert table(host, "remove", V4, V6) == {}
        assert table(host, "owned") == []
    assert host.addresses("lo") == {"127.0.0.1/8", "::1/128"}


def test_address_of_an_operator_is_neither_taken_over_nor_removed(lab: Lab) -> None:
    host = lab.host("host")
    host.run("ip", "addr", "add", V4, "dev", "lo", "label", "lo:mine")
    host.run("ip", "addr", "add", V6, "dev", "lo")
    before = host.run("ip", "addr", "show", "lo")
    assert table(host, "add", V4, V6) == {}
    assert table(host, "owned") == []
    assert table(host, "remove", V4, V6) == {}
    assert host.run("ip", "addr", "show", "lo") == before
    assert V4 in table(host, "present")


def test_vip_is_never_the_source_of_the_hosts_own_connections(lab: Lab) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor)  # an uplink without addresses: the host's own are on lo
    table(host, "add", V4, V6)
    for address in ("198.51.100.1/32", "2001:db8::1/128"):
        host.run("ip", "addr", "add", address, "dev", "lo")
    host.run("ip", "route", "add", "198.51.100.2/32", "dev", "tor")
    host.run("ip", "-6", "route", "add", "2001:db8:53::2/128", "dev", "tor")
    assert "src 198.51.100.1" in host.run("ip", "route", "get", "198.51.100.2")
    assert "src 2001:db8::1" in host.run("ip", "route", "get", "2001:db8:53::2")


def test_host_route_makes_one_address_local_and_a_whole_prefix_all_of_them(lab: Lab) -> None:
    host = lab.host("host")
    table(host, "add", V4, "198.18.7.0/24", "2001:db8:7::/64")
    assert "local" in host.run("ip", "route", "get", "198.18.7.99")
    assert "local" in host.run("ip", "route", "get", "203.0.113.10")
    assert "local" in host.run("ip", "route", "get", "2001:db8:7::99")
    assert host.run("ip", "route", "get", "203.0.113.11", check=False) == ""
    table(host, "remove", V4, "198.18.7.0/24", "2001:db8:7::/64")
    assert host.addresses("lo") == {"127.0.0.1/8", "::1/128"}
    assert "2001:db8:7::" not in host.run("ip", "-6", "route", "show", "table", "all")


def test_another_device_and_a_missing_one(lab: Lab) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor)
    assert table(host, "add", V4, device="tor") == {}
    assert V4 in host.addresses("tor")
    assert table(host, "owned", device="lo") == []
    with pytest.raises(RuntimeError, match="no network device 'nosuch0'"):
        table(host, "add", V4, device="nosuch0")


def test_device_with_a_long_name_makes_nobody_elses_address_ours(lab: Lab) -> None:
    host = lab.host("host")
    device = "fifteen-letters"
    assert len(device) == 15
    host.run("ip", "link", "add", device, "type", "veth", "peer", "name", "other")
    host.run("ip", "addr", "add", "203.0.113.200/32", "dev", device)
    assert table(host, "owned", device=device) == []
    assert table(host, "add", V4, device=device) == {}
    assert table(host, "owned", device=device) == [V4]


def test_ipv6_address_of_another_length_is_not_the_one_that_is_wanted(lab: Lab) -> None:
    host = lab.host("host")
    host.run("ip", "addr", "add", "2001:db8:53::10/64", "dev", "lo")
    failures = table(host, "add", V6)
    assert "another prefix length" in failures[V6]
    assert table(host, "owned") == []


def test_five_thousand_at_once_are_added_read_and_removed(lab: Lab) -> None:
    host = lab.host("host")
    found = prepared(host, ALL_AT_ONCE, *MANY)
    assert found == {"failures": 0, "ours": len(MANY), "again": len(MANY), "read": True, "left": 0}
    assert host.addresses("lo") == {"127.0.0.1/8", "::1/128"}


def test_each_that_is_refused_among_many_has_the_kernels_own_reason(lab: Lab) -> None:
    host = lab.host("host")
    host.run("ip", "addr", "add", MANY[100], "dev", "lo")  # an operator's
    host.run("ip", "addr", "add", MANY[301].replace("/128", "/64"), "dev", "lo")
    wanted = [*MANY[:150], "ff0e::1/128", *MANY[150:400]]
    found = prepared(host, MIXED, *wanted)
    assert found["failures"].keys() == {"ff0e::1/128", MANY[301]}
    assert re.fullmatch(r".+ \(errno \d+\)", found["failures"]["ff0e::1/128"])
    assert "another prefix length" in found["failures"][MANY[301]]
    ours = set(wanted) - found["failures"].keys() - {MANY[100]}
    assert set(found["ours"]) == set(found["owned"]) == ours
    assert host.addresses("lo") >= ours


def test_where_ipv6_is_switched_off_ipv4_is_added_all_the_same(lab: Lab) -> None:
    host = lab.host("host")
    host.run("sysctl", "-qw", "net.ipv6.conf.lo.disable_ipv6=1")
    found = prepared(host, MIXED, *MANY[:300])
    assert found["failures"].keys() == {item for item in MANY[:300] if ":" in item}
    assert all("IPv6 is disabled on this device" in why for why in found["failures"].values())
    assert len(found["owned"]) == 150


@pytest.mark.parametrize("version", [4, 6])
def test_what_changes_while_it_is_read_is_read_again(lab: Lab, version: int) -> None:
    found = prepared(lab.host("host"), INTERRUPTED, *(item for item in MANY if (":" in item) == (version == 6)))
    assert found == {"asked": 4, "as_it_is": True}  # one family three times, the other once


def test_what_we_change_is_no_event_and_what_others_do_to_it_is(lab: Lab) -> None:
    assert prepared(lab.host("host"), HEARD, *MANY[:200]) == {"ours": 0, "others": ["address", "address"]}
