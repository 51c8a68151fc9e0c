"""An audit as a file that programs read, and its signature."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from unlearn_ray.core.errors import without_secrets
from unlearn_ray.core.release import release
from unlearn_ray.report.audit import Audit, plain
from unlearn_ray.report.evidence import SweepEvidence
from unlearn_ray.report.signing import Signer


def audit_bytes(found: Audit, evidence: SweepEvidence, signer: Signer | None) -> bytes:
    """An audit as JSON; a signed one names the public key that verifies it."""
    told = plain(
        found,
        sweep=evidence.sweep,
        store=without_secrets(evidence.store.url),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        version=release(),
        signed_by=None if signer is None else {"ed25519_sha256": signer.fingerprint},
    )
    return (json.dumps(told, indent=1, allow_nan=False) + "\n").encode()


def write_audit(
    found: Audit, evidence: SweepEvidence, page: Path, signer: Signer | None = None
) -> list[Path]:
    """Write an audit beside a page.

    Args:
        found: the audit.
        evidence: of the sweep.
        page: of `report.html`, the audit is `report.audit.json`.
        signer: adds `report.audit.json.sig`, and the public key, `report.audit.pub.pem`.

    Returns:
        The files.

    Raises:
        OSError: the folder cannot be written to.
    """
    data = audit_bytes(found, evidence, signer)
    files = {page.with_suffix(".audit.json"): data}
    if signer is not None:
        files[page.with_suffix(".audit.json.sig")] = signer.sign(data)
        files[page.with_suffix(".audit.pub.pem")] = signer.public
    for path, content in files.items():
        path.write_bytes(content)
    return list(files)
