"""Messages repeat what was written, but for a password in a URL."""

from __future__ import annotations

import pytest

from consulcast import tags
from consulcast.masking import masked
from consulcast.model import AppKey, Refused, Source
from consulcast.notation import BadValue, monitor


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:secret@host/", "http://***@host/"),
        ("http://secret@host", "http://***@host"),
        ("http:https://a:se@cret@host:80/x@y", "http:https://***@host:80/x@y"),
        ("http://host/path@x", "http://host/path@x"),
        ("exec:echo a@b", "exec:echo a@b"),
        ("curl http://u:p@a http://v:q@b", "curl http://***@a http://***@b"),
    ],
)
def test_user_and_password_of_a_url_are_not_shown(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_refused_monitor_does_not_repeat_its_password() -> None:
    for written in ("http:http://user:secret@host/", {"monitor": "http:http://user:secret@host/"}):
        with pytest.raises(BadValue) as caught:
            monitor(written)
        assert "secret" not in str(caught.value)
        assert "***@host" in str(caught.value)
    wanted = ["enable_gocast", "gocast_vip=203.0.113.1/32", "gocast_monitor=http:http://user:secret@host/"]
    refused = tags.parse(AppKey(Source.CONSUL, "a"), "a", wanted)
    assert isinstance(refused, Refused)
    assert "secret" not in refused.detail
