from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from consulcast.executor.bgp.configuration import render
from consulcast.executor.bgp.errors import BgpError, PeerError
from consulcast.executor.bgp.peer import Peer
from tests.executor.bgp.values import NEXT_HOP4, NEXT_HOP6, peer

RELAY = ("/usr/bin/python3", "-IS", "/usr/lib/consulcast/relay.py", "/run/consulcast/api.sock")
EVERYTHING = (
    peer(password="s3cret; {pass} # \\o/ [x]", ttl_security=1),
    peer("198.51.100.3", peer_as=4200000099, port=1179, ttl=5, hold_time=0, next_hop6=None),
    Peer(
        ip_address("2001:db8::2"),
        peer_as=65001,
        local_as=65001,
        local_address=NEXT_HOP6,
        router_id=NEXT_HOP4,
        next_hop4=NEXT_HOP6,
        next_hop6=NEXT_HOP6,
        hold_time=9,
        extended_next_hop=True,
    ),
)


def test_every_setting_is_rendered_as_in_the_golden_file() -> None:
    golden = Path(__file__).with_name("exabgp.conf.golden")
    assert render(EVERYTHING, RELAY) == golden.read_text()


def test_graceful_restart_is_negotiated_and_end_of_rib_left_to_us_where_it_is_wanted() -> None:
    text = render([peer()], RELAY, 120)
    assert "capability { asn4 enable; route-refresh enable; graceful-restart 120; }" in text
    assert "manual-eor true;" in text
    plain = render([peer()], RELAY)
    assert "graceful-restart" not in plain
    assert "manual-eor" not in plain


def test_exabgp_accepts_what_is_rendered(tmp_path: Path) -> None:
    configuration = tmp_path / "exabgp.conf"
    configuration.write_text(render(EVERYTHING, (sys.executable, "-IS", "/dev/null", "/run/x.sock"), 120))
    read_back = (
        "import sys\n"
        "from exabgp.configuration.configuration import Configuration\n"
        "from exabgp.environment import getenv\n"
        "from exabgp.logger import log\n"
        "log.init(getenv())\n"
        "read = Configuration([sys.argv[1]])\n"
        "assert read.reload(), read.error\n"
        "for each in read.neighbors.values(): print(each['md5-password'], each['md5-base64'], each['hold-time'])\n"
    )
    done = subprocess.run([sys.executable, "-c", read_back, str(configuration)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-3:] == [r"s3cret; {pass} # \o/ [x] False 30", "None False 0", "None False 9"]


def test_two_peers_with_one_address_are_refused() -> None:
    with pytest.raises(PeerError, match="twice"):
        render([peer(), peer(port=1179)], RELAY)


@pytest.mark.parametrize("word", ["/with blank/x", "/with;semicolon", "/with{brace", '/with"quote', "/with#hash", ""])
def test_a_path_that_exabgp_would_split_is_refused(word: str) -> None:
    with pytest.raises(BgpError, match="cannot run"):
        render([peer()], ["/usr/bin/python3", word])
