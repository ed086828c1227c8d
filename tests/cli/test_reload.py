"""The file is read again, or the reason why not is told."""

from __future__ import annotations

from tests.cli.conftest import Site


def test_reload_is_told(site: Site) -> None:
    result = site.call("reload")
    assert (result.exit_code, result.output) == (0, "reloaded\n")
    assert site.daemon.calls == ["reload"]
    assert site.json("reload")["reloaded"] is True


def test_a_bad_file_is_a_usage_error_with_the_daemons_words(site: Site) -> None:
    site.daemon.bad_file = "c.yaml:3: bgp.per_as: unknown key"
    result = site.call("reload")
    assert result.exit_code == 2
    assert "c.yaml:3: bgp.per_as: unknown key" in result.output
