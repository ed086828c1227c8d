"""Where the program starts: the standard library is patched before anything else is imported."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

from consulcast import gocast_arguments  # noqa: E402
from consulcast.cli import cli  # noqa: E402


def main() -> None:
    """Run a command; GoCast's own call is understood."""
    cli.main(args=gocast_arguments.translate(sys.argv[1:]), prog_name="consulcast")


if __name__ == "__main__":
    main()
