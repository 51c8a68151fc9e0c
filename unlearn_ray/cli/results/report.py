"""`unlearn-ray results STORE report`: one page that shows a sweep, for any browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_ray.cli.output import say
from unlearn_ray.cli.stores import readable
from unlearn_ray.core.errors import BadInput, Exit, listed

if TYPE_CHECKING:
    from unlearn_ray.report.evidence import SweepEvidence
    from unlearn_ray.report.tables import ShownTable

SUMMARY = "one HTML file that shows a sweep: verdict, table, figures, provenance"

_EPILOG = """\
The file opens from disk, asks no network for anything, and shows a sweep that still runs as far as
it is. It needs the extra report: pip install 'unlearn_ray[report]'.

examples:
  unlearn-ray results ./store report --output report.html
  unlearn-ray results ./store report quickstart --output quickstart.html
  unlearn-ray results ./store report request --audit requests.txt --sign key.pem

--audit writes report.audit.json beside the page: for each sample, what the original, the unlearned
and the retrained model say of it, and the chain of keys and digests from the original's weights to
the unlearned ones, computed again. It needs the sweep's dataset on this machine, and the extra
run; --sign the extra audit. The exit status is 1 if a sample was not forgotten, or a link is not as
it was written. A signature is verified by
  openssl pkeyutl -verify -pubin -inkey report.audit.pub.pem -rawin -in report.audit.json \\
      -sigfile report.audit.json.sig
with the public key that you know to be the signer's.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which sweep, and where the page goes."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "sweep", nargs="?", metavar="SWEEP", help="the sweep's name, if the store has several"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", default=Path("report.html"),
        help="the page (default: report.html)",
    )  # fmt: skip
    parser.add_argument(
        "--svg", type=Path, metavar="DIR", help="write each figure to DIR/NAME.svg, too"
    )
    parser.add_argument(
        "--audit", type=Path, metavar="REQUEST",
        help="audit the samples that this file names, one per line; or the users, where the"
        " sweep's forget set has a map of users",
    )  # fmt: skip
    parser.add_argument(
        "--sign", type=Path, metavar="KEY.pem", help="sign the audit with this key of Ed25519"
    )


def run(options: argparse.Namespace) -> int:
    """Write the page, and the audit of a request."""
    from unlearn_ray.report.evidence import sweep_evidence
    from unlearn_ray.report.page import page

    if options.sign is not None and options.audit is None:
        raise BadInput(f"--sign {options.sign}", "there is no audit to sign", "add --audit REQUEST")
    evidence = sweep_evidence(readable(options.store), options.sweep)
    status, tables = (Exit.DONE, []) if options.audit is None else _audited(options, evidence)
    text = page(evidence, audit=tables)
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput(f"--output {options.output}", reason, "name a file to write") from None
    say(f"written to {options.output} ({len(text.encode()) / 1e6:.2f} MB)")
    if options.svg is not None:
        _write_figures(options.svg, evidence)
    return status


def _write_figures(folder: Path, evidence: SweepEvidence) -> None:
    from unlearn_ray.core.words import counted
    from unlearn_ray.report.contents import drawn
    from unlearn_ray.report.svg import write_svg

    figures = [figure for _, each in drawn(evidence) for figure in each]
    try:
        written = write_svg(figures, folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput(f"--svg {folder}", reason, "name a folder to write to") from None
    say(f"{counted(len(written), 'figure')} written to {folder}")


def _audited(options: argparse.Namespace, evidence: SweepEvidence) -> tuple[Exit, list[ShownTable]]:
    """Write the audit; its status, and its tables for the page."""
    from unlearn_ray.report.audit import audit
    from unlearn_ray.report.audit_files import write_audit
    from unlearn_ray.report.audit_tables import audit_tables
    from unlearn_ray.report.request import read_request
    from unlearn_ray.report.signing import signer

    key = None if options.sign is None else signer(options.sign)
    found = audit(evidence, read_request(options.audit, evidence.kept, evidence.sweep))
    try:
        written = write_audit(found, evidence, options.output, key)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput(f"--output {options.output}", reason, "name a file to write") from None
    say(f"audit written to {', '.join(map(str, written))}")
    if not found.holds:
        say("the audit does not hold: a sample was not forgotten, or a link is not as written")
        if found.not_audited:
            say(f"these studies were not audited: {listed(found.not_audited)}")
    return (Exit.DONE if found.holds else Exit.SOME_FAILED), audit_tables(found)
