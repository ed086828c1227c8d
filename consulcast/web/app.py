"""The Flask application: every URL over one view of the daemon."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import BaseConverter

from consulcast.reasons import meaning
from consulcast.web import api, errors, events, gocast, guard, metrics, openapi, page
from consulcast.web.door import Door
from consulcast.web.view import View


class _Anything(BaseConverter):
    """A name in a path, whatever it is made of: slashes too, as the server decodes ``%2F``, and line ends."""

    regex = r"[\s\S]+"
    part_isolating = False


def make_app(view: View, door: Door | None = None) -> Flask:
    """Build the application; ``door`` says who may do what."""
    door = door or Door()
    app = Flask("consulcast", static_folder=None, template_folder=None)
    app.config.update(PROVIDE_AUTOMATIC_OPTIONS=False)
    app.url_map.converters["anything"] = _Anything
    app.url_map.merge_slashes = False  # the name `a//b` is not `a/b`
    errors.install(app)
    guard.install(app, door)
    parts = (gocast.blueprint(view), api.blueprint(view), events.blueprint(view.changes))
    for urls in (*parts, metrics.blueprint(view), openapi.blueprint(), page.blueprint(view, meaning)):
        app.register_blueprint(urls)
    return app
