"""`unlearn-ray ui STORE`: reports in a browser, while sweeps run."""

from __future__ import annotations

import argparse

from unlearn_ray.cli.output import say
from unlearn_ray.cli.plugin_option import load_plugins, plugin_argument
from unlearn_ray.cli.stores import readable, store_argument
from unlearn_ray.core.errors import EXIT_STATUSES, Exit

SUMMARY = "show reports in a browser while sweeps run"

_DESCRIPTION = """\
Serve the reports of a store's sweeps to browsers on this machine. An open page follows its sweep:
it shows new rows within seconds. Nothing can be changed through it.
"""
_EPILOG = """\
examples:
  %(prog)s ./store
  %(prog)s s3://bucket/unlearning --port 8000

It listens on this machine alone. To look from another one, forward the port, as in
ssh -L 8765:localhost:8765 MACHINE; --host 0.0.0.0 lets everybody read who reaches this machine.

"""
_PORT = 8765
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def arguments(parser: argparse.ArgumentParser) -> None:
    """STORE, and where to listen."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG + EXIT_STATUSES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    store_argument(parser)
    parser.add_argument(
        "--port", type=_port, default=_PORT, metavar="N",
        help=f"0 is any that is free (default: {_PORT})",
    )  # fmt: skip
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)"
    )
    plugin_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    load_plugins(options)
    from unlearn_ray.report.serve import server

    listening = server(readable(options.store), options.host, options.port)
    name = f"[{options.host}]" if ":" in options.host else options.host
    say(f"reports at http://{name}:{listening.server_address[1]}/ until Ctrl-C")
    if options.host not in _LOOPBACK:
        say("warning: whoever reaches this machine can read them")
    try:
        listening.serve_forever()
    except KeyboardInterrupt:
        return Exit.DONE
    finally:
        listening.server_close()
    return Exit.DONE


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not a port; write 8765, or 0 for any")
    return port
