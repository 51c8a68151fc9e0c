"""The S3 server of cluster/, with credentials and pages for tests; `make s3` installs it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from cluster import s3_server
from cluster.s3_server import REGION, Credentials

__all__ = ["ACCESS_KEY", "REGION", "ROOT", "SECRET_KEY", "S3Server"]

ROOT = Path(__file__).parent.parent
ACCESS_KEY = "test:tester"
SECRET_KEY = "testing"
# 1,000 on AWS, fewer here so that tests meet several pages.
PAGE = 100


class S3Server(s3_server.S3Server):
    """Serves a new folder.

    Raises:
        FileNotFoundError: the server is not installed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _environment(), Credentials(ACCESS_KEY, SECRET_KEY), page=PAGE)

    def store_url(self, prefix: str = "") -> str:
        """URL of a store in a new bucket."""
        bucket = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=bucket)
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}"


def _environment() -> Path:
    folder = Path(os.environ.get("UNLEARN_RAY_S3_VENV", ROOT / ".venv-s3"))
    if not (folder / "bin" / "swift-proxy-server").exists():
        raise FileNotFoundError(
            f"{folder}: no S3 server to test against; run `make s3`, or set"
            " UNLEARN_RAY_S3_VENV to an environment with OpenStack Swift"
        )
    return folder
