"""Every reason code: what it means, what it comes from, what to do. The one source; docs/reasons.md is written from it.

``python -m consulcast.reasons > docs/reasons.md`` writes the page anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Entry(Struct, frozen=True):
    """A code in three sentences. Without a ``todo`` there is nothing to do."""

    meaning: str
    cause: str
    todo: str = ""


def todo(code: str) -> str:
    """What to do about a code; "" if nothing, or if it is not known."""
    return next((entries[code].todo for entries in SECTIONS.values() if code in entries), "")


def meaning(code: str) -> str:
    """What a code means, and what to do about it; "" if it is not known."""
    entry = next((entries[code] for entries in SECTIONS.values() if code in entries), None)
    return "" if entry is None else f"{entry.meaning} {entry.todo}".strip()


_VIPS: Mapping[str, Entry] = {
    "announced": Entry("The route is at one peer at least.", "All is as it should be."),
    "announcing": Entry(
        "Wanted and on its way.",
        "Address, NAT rules or ExaBGP's acknowledgement are under way, or a session is being made.",
        "Wait a few seconds. If it stays, see what `explain` says it waits for, and ExaBGP's log in the run directory.",
    ),
    "would-announce": Entry(
        "It would be announced, if the daemon did more than observe.", "`run --observe`: nothing is touched."
    ),
    "passing": Entry("The app is healthy.", "All its monitors pass, or it has none."),
    "peer-down": Entry(
        "Wanted and handed over to ExaBGP, but no session is established. As a peer's reason: its session is down.",
        "The peer is away, does not know us, expects another AS or password, or a firewall is between.",
        "Compare `peer_as`, `local_as`, `password` and the addresses with the router's configuration, and see its log.",
    ),
    "family-not-negotiated": Entry(
        "Sessions are up, and none carries the VIP's address family.",
        "The router has not enabled IPv4 or IPv6 unicast for this session.",
        "Enable the family for us on the router.",
    ),
    "no-next-hop": Entry(
        "No peer can be given a usable next hop of the VIP's family.",
        "The device toward the peer has no global address of that family, or no peer could be found at all.",
        "Give that device an address, or set `next_hop_ipv4` or `next_hop_ipv6` of the peer.",
    ),
    "address-failed": Entry(
        "The VIP's address is not on the host, so its route is not announced; retried.",
        "The kernel refused it, somebody removes it again and again, or `agent.vip_device` is down or missing.",
        "Do what the detail says: set the device up, or stop what removes the address.",
    ),
    "nat-failed": Entry(
        "The VIP's NAT rules do not stand, and without them it would be a black hole; retried.",
        "The back end is missing (`nft`, or iptables-legacy), the kernel lacks its module, or it refused a rule.",
        "Install `nftables` or load the kernel's module; see `nat.backend` in the file.",
    ),
    "bgp-failed": Entry(
        "ExaBGP refused the route; retried.",
        "A community or next hop that it cannot write.",
        "See `exabgp.log` in the run directory; a community is most often the reason.",
    ),
    "monitor-failing": Entry(
        "A monitor of the app says that it does not work.",
        "The check is critical, nobody listens, the command fails, or the answer is not as asked for.",
        "Mend the service, or the check that the detail names.",
    ),
    "monitor-pending": Entry(
        "A monitor has no verdict yet.",
        "It has not looked since the start or the registration, or Consul has not answered yet.",
        "Wait for its first look.",
    ),
    "monitor-unsupported": Entry(
        "The app asks for a monitor that this host does not have.",
        "An app of the file or over HTTP has the monitor `consul`, and Consul is not used.",
        "Set CONSUL_NODE or `consul.node`, or ask for another monitor.",
    ),
    "monitor-not-allowed": Entry(
        "The app asks for a monitor that the policy does not let its source have.",
        "`policy.<source>.monitors` or `policy.<source>.exec`; commands are denied unless the file allows them.",
        "Use another monitor, or change the rule that the detail names.",
    ),
    "nat-unsupported": Entry(
        "The app asks for NAT, and this host has nowhere to send it.",
        "The host has no address of its own of the VIP's family.",
        "Give the host such an address, or take the NAT tag away.",
    ),
    "no-checks": Entry(
        "The monitor `consul` on a service without a check: it never passes, as in GoCast.",
        "The service is registered without a check.",
        "Register a check, or use another monitor.",
    ),
    "suppressed": Entry(
        "The route came and went too often and is held back (docs/damping.md).",
        "The service or its check flaps.",
        "Mend what flaps; it is announced again by itself at the time that is shown.",
    ),
    "draining": Entry(
        "Taken out of service on purpose.",
        "Maintenance mode of the service or the node, or a drain.",
        "End it when the work is done: `consulcast undrain TARGET`, or `consul maint -disable [-service=ID]`.",
    ),
    "cleaned-up": Entry(
        "Failing for longer than `agent.cleanup_timer`: the address was removed too.",
        "See the monitor that the detail names.",
        "Mend the service; address and route come back by themselves.",
    ),
    "withdrawing": Entry("Not wanted any more.", "Its last app is gone, or asks for something else."),
    "vip-not-allowed": Entry(
        "The policy does not let the app have this VIP.",
        "A rule of `policy:`, an address that host, peers or Consul need, or one that is never announced.",
        "Ask for another VIP, or change the rule that the detail names (docs/policy.md).",
    ),
    "community-not-allowed": Entry(
        "The policy does not let the app have this community, or not so many.",
        "`policy.<source>.communities`, or more than 64 of them on one VIP.",
        "Take the community away, or change the rule that the detail names.",
    ),
    "nat-not-allowed": Entry(
        "The policy does not let the app send traffic from or to this port.",
        "`policy.<source>.nat_listen` or `nat_dest`; ports 22 and 179 are kept unless the file allows them.",
        "Use another port, or change the rule that the detail names.",
    ),
    "too-many-apps": Entry(
        "Its source holds as many apps as the policy lets it.",
        "`policy.<source>.max_apps`.",
        "Remove apps that are not needed, or raise the limit.",
    ),
    "too-many-monitors": Entry(
        "Its source has as many monitors as it may.",
        "`policy.<source>.max_monitors`.",
        "Raise it, or have fewer monitors.",
    ),
    "too-many-vips": Entry(
        "Its source holds as many VIPs as the policy lets it.",
        "`policy.<source>.max_vips`.",
        "Remove VIPs that are not needed, or raise the limit.",
    ),
    "vip-conflict": Entry(
        "Another app has what this one asks for: the older registration keeps it.",
        "Two apps ask for one prefix with different addresses, or send one port of a VIP to two places.",
        "Agree on who has it; the detail names the other app. It is given when that one goes.",
    ),
    "bad-tag": Entry(
        "A tag cannot be read, or a needed one is missing; the app is refused, or its last readable tags stand.",
        "A misspelt tag or value.",
        "Write the tag as the detail says, and register the service again.",
    ),
    "consul-stale": Entry(
        "Consul gives no answer that can be believed: its last good one stands, or nothing if there never was one.",
        "The agent is down or frozen, has no leader, denies our token, or shows less than its witnesses do.",
        "Mend Consul: `/v1/consul` says since when and why. Nothing is withdrawn before `consul.stale_limit`.",
    ),
}

_FINDINGS: Mapping[str, Entry] = {
    "not-enabled": Entry(
        "Consul has the service on this node, and its tags do not ask for anything.",
        "The tag `enable_gocast` is missing or misspelt (`agent.tag_prefix` changes it).",
        "Add the tag, and `gocast_vip=address/length`.",
    ),
    "computed": Entry(
        "`lint` cannot check the tag; no finding.",
        "It is put together when the job runs (`${var.vip}`, `concat(…)`).",
        "Check what comes of it: `nomad job run -output`, or `consulcast lint --tag`.",
    ),
    "consul-node-unknown": Entry(
        "Consul does not know the node that it is asked about.",
        "CONSUL_NODE or `consul.node` is not the agent's node name, or the token may not read the node.",
        "Set it to what `consul info` or `consul members` calls this node, and give the token `node:read`.",
    ),
    "consul-denied": Entry(
        "Consul denies what has to be seen.",
        "No token, an unknown token, or one whose policy lacks a right.",
        "Set `consul.token_file` to a token with the policy of docs/consul-acl.md.",
    ),
    "unknown-target": Entry(
        "Nobody asks for it on this host.",
        "Another name or address is meant, the service runs on another node, or it is not registered.",
        "See `/v1/apps` for what there is, and register the service on this node.",
    ),
    "not-running": Entry(
        "The daemon does not run on this host.",
        "It was never started, was stopped, or could not start; the line says its last words where they are known.",
        "Mend what the line says, and start it.",
    ),
    "not-reachable": Entry(
        "The daemon seems to run, and its HTTP endpoint was not reached.",
        "It listens elsewhere (`agent.listen_addr`, `api.listen`), is starting, or hangs.",
        "Name the place that it listens at: `--url`, or `--config` with the file that it runs with.",
    ),
}

_EVENTS: Mapping[str, Entry] = {
    "registered": Entry("An app is taken.", "Its source asks for it."),
    "changed": Entry("An app asks for something else.", "Its source asks for something else."),
    "removed": Entry("An app is gone.", "Its source does not ask for it any more."),
    "unknown-tag": Entry(
        "A tag that begins like ours is none, and is ignored, as in GoCast.",
        "It is misspelt, or is of another program.",
        "Mend the tag; `explain` says what was probably meant.",
    ),
    "peer-up": Entry("A peer's session is established.", "Both sides agree."),
    "started": Entry("The daemon runs.", "It was started."),
    "reloaded": Entry("The configuration file was read again and holds.", "SIGHUP or `POST /v1/reload`."),
    "drift-address": Entry(
        "A VIP's address was missing, and is put back.",
        "Somebody else removed it.",
        "Find what removes it: most often a network manager that sets the device up anew.",
    ),
    "drift-device": Entry(
        "The VIPs' device was down or gone, and is up again.", "Somebody set it down.", "Find who does that."
    ),
    "drift-nat": Entry(
        "NAT rules were missing or changed, and are put back.",
        "Somebody else flushed or changed our table.",
        "Have the firewall's reload leave the table `consulcast` alone.",
    ),
    "drift-route": Entry(
        "ExaBGP's table was not what it had acknowledged; it is told again.",
        "A defect of ExaBGP's, or somebody spoke to it.",
        "Report it if it happens again.",
    ),
    "drift-exabgp": Entry(
        "ExaBGP ended, or did not answer and was ended, and is started again.",
        "It was killed or failed; its last words are in the detail.",
        "See `exabgp.log` in the run directory.",
    ),
    "drift-netlink": Entry(
        "The kernel's events came faster than they were read; all is looked at anew.",
        "Something changes addresses or rules in great numbers.",
        "Find what does, if it happens often.",
    ),
}

_HTTP: Mapping[str, Entry] = {
    "bad-request": Entry(
        "Not HTTP, not JSON, or not of the documented shape.", "The caller.", "See `/v1/openapi.json`."
    ),
    "bad-value": Entry("A value that cannot be read.", "The caller.", "Write it as the message says."),
    "cross-site": Entry(
        "A browser sent it on behalf of another site.", "A page elsewhere calls this endpoint.", "See docs/api.md."
    ),
    "foreign-host": Entry(
        "It was sent to a name that is not known to be this host's.",
        "The host is reached by another name.",
        "Add the name to `api.hosts`, or ask by address.",
    ),
    "unauthorized": Entry("No token, or one that is not known.", "The caller.", "Send a token of `api.tokens_file`."),
    "forbidden": Entry(
        "The caller is known, and may not.", "The token lacks the scope.", "Use a token with the scope that is named."
    ),
    "too-many": Entry(
        "Too many requests, connections, streams or wrong tokens.",
        "The caller, or limits that are too low.",
        "Come back after `Retry-After`; see `api.limits`.",
    ),
    "not-found": Entry("There is no such thing.", "Another name is meant.", "See `/v1/apps` for what there is."),
    "method-not-allowed": Entry("The URL does not take this method.", "The caller.", "Use one that `Allow` names."),
    "too-slow": Entry("The request did not come in time.", "The caller or the way to it.", "Send it at once."),
    "too-large": Entry("URL, headers or body are too large.", "The caller.", "Send less; see `api.limits`."),
    "unsupported-media-type": Entry("The body is not JSON.", "The caller.", "Send `Content-Type: application/json`."),
    "bad-config": Entry(
        "The configuration file was not taken; nothing is changed.",
        "The line and key that the message names.",
        "Mend the file (`consulcast check --config FILE`) and reload again.",
    ),
    "not-stored": Entry(
        "A registration cannot be written; it is not taken.",
        "The disk is full or `agent.state_dir` is not writable.",
        "Make room, or mend the directory.",
    ),
    "not-ready": Entry(
        "The host has not been as it should be since the start.",
        "Consul has not answered, or the first reconcile is under way.",
        "Wait; `explain` says what a VIP waits for.",
    ),
    "unhealthy": Entry("The daemon does not do its work.", "The message says.", "See its log."),
    "internal-error": Entry("The daemon erred.", "A defect.", "See its log for the traceback, and report it."),
}

_LOG: Mapping[str, Entry] = {
    "stopping": Entry("All is withdrawn; the daemon ends.", "SIGTERM, SIGINT, or SIGUSR2 without graceful restart."),
    "restarting": Entry("The daemon ends, and peers keep the routes.", "A restart with `bgp.graceful_restart`."),
    "stopped": Entry("The daemon has ended in order.", "It was told to."),
    "cannot-start": Entry("The daemon cannot start.", "The message says.", "Do what it says, and start again."),
    "part-failed": Entry(
        "A part of the daemon failed, so that all was withdrawn and it ended.",
        "A defect: the traceback stands in the log.",
        "Report it. The service manager starts it again.",
    ),
    "config-warning": Entry(
        "The file is taken, and something in it is not as it seems.",
        "A key without effect, a secret that others may read.",
        "Do what the message says; `consulcast check` shows it too.",
    ),
    "next-start": Entry(
        "A key of the file has changed that is read at the start alone.", "A reload.", "Restart when it suits."
    ),
    "network-unread": Entry(
        "Peers and next hops could not be looked for; tried again.", "The kernel did not answer.", "See the detail."
    ),
    "peer-incomplete": Entry(
        "Something about a peer could not be found: its address, a route to it, a next hop.",
        "The network is not up yet, or the file leaves open what the host does not say.",
        "Write it in the file, or wait: it is looked for every 30 s.",
    ),
    "consul-synced": Entry("Consul has answered both queries.", "The start, or a reload with other settings."),
    "consul-believed": Entry("Consul's answers count again.", "Its trouble is over."),
    "consul-unused": Entry(
        "Consul is not used.",
        "Neither CONSUL_NODE nor `consul.node` is set.",
        "Set one, unless the file and HTTP are all that there is.",
    ),
    "held": Entry(
        "An app stands against Consul's last answer.",
        "It is looked for elsewhere first, or the hold-down of a mass removal is running.",
        "Wait; the detail says for what.",
    ),
    "token-lacks-rights": Entry(
        "The Consul token may not see everything on this node.", "Its policy.", "Add what is named: docs/consul-acl.md."
    ),
    "monitor-blind": Entry(
        "A monitor cannot look, so that its last verdict stands.",
        "The host lacks something: a right, a program, memory, a name server.",
        "Do what the detail says.",
    ),
    "address-removed": Entry("A VIP's address is gone from the host.", "It is not wanted any more."),
    "address-foreign": Entry(
        "An address that we put there carries somebody else's mark now.",
        "Somebody replaced it.",
        "It is used and never removed by us; find who replaces it.",
    ),
    "address-stays": Entry(
        "An address cannot be removed; tried again.", "The kernel refused.", "See the detail; remove it by hand."
    ),
    "addresses-unread": Entry(
        "The kernel's addresses cannot be read; what was known stands.", "The kernel refused.", "See the detail."
    ),
    "no-kernel-events": Entry(
        "The kernel's events cannot be heard; changes are seen by the sweep, every 30 s.",
        "Netlink refused the subscription.",
        "See the message; inside a container it needs the host's network.",
    ),
    "nat-backend": Entry("NAT is made with the back end that is named.", "The start."),
    "nat-well": Entry("NAT rules stand again.", "What kept them from it is over."),
    "nat-leftover": Entry(
        "Rules of ours cannot be removed from the other back end.", "It refused.", "Remove the chains that are named."
    ),
    "nat-unseen": Entry(
        "What NAT rules the host has cannot be seen.", "The back end cannot be read.", "See the detail."
    ),
    "nat-flows-dropped": Entry("Flows that led elsewhere were dropped.", "A NAT rule came, changed or went."),
    "nat-flows-kept": Entry(
        "Flows that began under another NAT rule keep to it until they end.",
        "conntrack refused to drop them.",
        "`conntrack -D -d VIP` drops them.",
    ),
    "exabgp-started": Entry("ExaBGP runs.", "The start, or it had ended."),
    "exabgp-ended": Entry("ExaBGP has ended.", "The daemon ends."),
    "exabgp-killed": Entry("ExaBGP did not end in time and was killed.", "It hung.", "See `exabgp.log`."),
    "exabgp-refused": Entry(
        "ExaBGP did not take its configuration; tried again.", "What `exabgp.log` says.", "See it; mend the peer."
    ),
    "exabgp-protocol": Entry(
        "ExaBGP said something that is not understood, and is started again.", "A defect.", "Report it."
    ),
    "foreign-process": Entry(
        "A process of another user wanted to speak as ExaBGP, and was turned away.",
        "Somebody on this host tries to.",
        "Find who does.",
    ),
    "lapsed": Entry("A registration over HTTP is over.", "It was not renewed within its `ttl`."),
    "bad-registration": Entry(
        "A registration of the state file cannot be read; the others stand.", "The file was edited.", "Register anew."
    ),
    "registrations-taken": Entry("Registrations of a former run stand.", "The start."),
    "registrations-unreadable": Entry(
        "The state file cannot be read; it is set aside.", "It was edited, or the disk failed.", "Register anew."
    ),
    "observing": Entry("Nothing is touched; what would be announced is said.", "`run --observe`."),
    "drain-begun": Entry("Something is drained.", "Somebody asked for it; the detail says who, why and until when."),
    "drain-ended": Entry("A drain is over.", "It was ended, or its time is over."),
    "drains-unreadable": Entry(
        "The file of the drains cannot be read; it is set aside.", "It was edited, or the disk failed.", "Drain anew."
    ),
    "flows-unseen": Entry(
        "Open flows cannot be counted, so that a drain waits for all of `drain.flows`.",
        "The kernel refused to tell of them.",
        "See the detail: CAP_NET_ADMIN, `nf_conntrack`.",
    ),
    "stored-again": Entry("Registrations are written again.", "The disk takes them again."),
    "http-without-tokens": Entry(
        "Others can reach the HTTP endpoint, and no token is asked for.",
        "`agent.listen_addr` or `api.listen` without `api.tokens_file`.",
        "Reading is open; changes are taken from this host alone. Set tokens: docs/api.md.",
    ),
    "wrong-token": Entry(
        "A client sent a token that is not known.", "An old token, or somebody who guesses.", "Find the client."
    ),
    "request-failed": Entry("A request ended in an error of ours.", "A defect.", "Report it with the traceback."),
    "hook-failed": Entry("The command of `hooks:` failed.", "What the detail says.", "Mend the command."),
    "hook-works": Entry("The command of `hooks:` works again.", "It was mended."),
    "hook-behind": Entry(
        "Changes were left out for the command of `hooks:`.", "It is slower than they come.", "Have it do less."
    ),
    "publish-failed": Entry(
        "What is announced cannot be written to Consul; nothing else is changed by that.",
        "Consul is away, or the token may not write.",
        "See docs/publish.md for the rights.",
    ),
    "published": Entry("What is announced stands in Consul again.", "Consul takes it again."),
    "no-service-manager": Entry(
        "The service manager is told nothing.", "NOTIFY_SOCKET is not an address.", "Unset it, or mend the unit."
    ),
}

SECTIONS: Mapping[str, Mapping[str, Entry]] = {
    "Apps and VIPs": _VIPS,
    "What `explain` and `lint` find": _FINDINGS,
    "Events": _EVENTS,
    "The rest of the log": _LOG,
    "Answers of the HTTP endpoint": _HTTP,
}

_HEAD = """# Reason codes

Log, `/v1/events`, `/v1/apps`, `/v1/vips`, `consulcast explain`, page and metrics show these codes. They are stable.
`consulcast explain TARGET` says which one holds, and the value behind it.
The page is written by `consulcast/reasons.py`.
"""


def page() -> str:
    """The page docs/reasons.md."""
    parts = [_HEAD]
    for title, entries in SECTIONS.items():
        parts.append(f"\n## {title}\n\n| code | meaning | cause | what to do |\n|---|---|---|---|\n")
        parts += [
            f'| <a id="{code}"></a>`{code}` | {item.meaning} | {item.cause} | {item.todo} |\n'
            for code, item in entries.items()
        ]
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
