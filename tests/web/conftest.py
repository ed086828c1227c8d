"""The application over a daemon without a host."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from consulcast.web.app import make_app
from tests.web.daemon import Daemon


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def client(daemon: Daemon) -> FlaskClient:
    return make_app(daemon).test_client()
