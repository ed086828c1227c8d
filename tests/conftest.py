from gevent import monkey

monkey.patch_all()

import os  # noqa: E402

from hypothesis import settings  # noqa: E402

# Properties look for new cases on every run of a developer's, and at the same ones in CI: a red CI is a change's doing.
# However long a case takes: a busy machine is no defect.
settings.register_profile("usual", deadline=None)
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "usual")
