from gevent import monkey

monkey.patch_all()

import os  # noqa: E402

from hypothesis import settings  # noqa: E402

# Properties look for new cases on every run of a developer's, and at the same ones in CI: a red CI is a change's doing.
settings.register_profile("ci", derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
