"""Drain this node of a Ray cluster when its cloud is about to take the machine back.

python spot_notice.py aws|gcp [--node-id HEX]

Started beside `ray start` on a spot worker, it waits for the notice at the cloud's metadata
server and tells Ray, which places nothing new on the node and lets what runs there save its
work. It needs nothing but Ray. Pods need no such thing: Ray itself drains a node whose
`ray start --block` gets SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

POLL_SECONDS = 5.0
# GCP says that the end is near, not when: after the preemptionNoticeDuration of gcp.yaml.
GCP_SECONDS = 120
_RETRY_SECONDS = 1.0
_TOKEN_SECONDS = 21600


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 0 once the node drains, 1 if it could not be told to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("cloud", choices=sorted(NOTICES))
    parser.add_argument("--node-id", metavar="HEX", help="default: the node on this machine")
    options = parser.parse_args(arguments)
    node = options.node_id or this_node()
    print(f"node {node}: waiting for a notice of {options.cloud}", flush=True)
    seconds = NOTICES[options.cloud]()
    print(f"node {node}: the machine goes in {seconds} s; draining", flush=True)
    return drain(node, seconds)


def this_node() -> str:
    """The ID of the node that this machine is; asked before time is short."""
    import ray

    ray.init(address="auto", log_to_driver=False)
    try:
        found: str = ray.get_runtime_context().get_node_id()
        return found
    finally:
        ray.shutdown()


def aws_notice() -> int:
    """Wait until AWS says when the instance ends; seconds until then."""
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")
    address = f"{base.rstrip('/')}/latest"
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
    token: str | None = None
    while True:
        if token is None:
            given = _ask(f"{address}/api/token", lifetime, method="PUT")
            token = given.text if given.status == 200 else None
        if token is not None:
            sent = {"X-aws-ec2-metadata-token": token}
            answer = _ask(f"{address}/meta-data/spot/instance-action", sent)
            if answer.status == 200:
                ends = datetime.fromisoformat(json.loads(answer.text)["time"])
                return max(0, round((ends - datetime.now(UTC)).total_seconds()))
            if answer.status == 401:
                token = None
        time.sleep(POLL_SECONDS)


def gcp_notice() -> int:
    """Wait until GCP says that the instance is preempted; seconds until its end."""
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    address = f"http://{host}/computeMetadata/v1/instance/preempted"
    query = ""
    while True:
        answer = _ask(address + query, {"Metadata-Flavor": "Google"}, seconds=90)
        if answer.status != 200:
            time.sleep(POLL_SECONDS)
        elif answer.text.strip() == "TRUE":
            return GCP_SECONDS
        else:
            # The server answers when the value is no longer the one of this tag.
            query = f"?wait_for_change=true&timeout_sec=60&last_etag={answer.etag}"


NOTICES: dict[str, Callable[[], int]] = {"aws": aws_notice, "gcp": gcp_notice}


def drain(node: str, seconds: int) -> int:
    """Tell Ray that a node ends in so many seconds, until it has heard."""
    deadline = time.monotonic() + seconds
    while True:
        left = max(0, round(deadline - time.monotonic()))
        command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", f"--node-id={node}"]
        command += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot notice"]
        command += [f"--deadline-remaining-seconds={left}"]
        status = subprocess.run(command).returncode
        if status == 0 or left == 0:
            return min(status, 1)
        time.sleep(_RETRY_SECONDS)


@dataclass(frozen=True)
class _Answer:
    status: int = 0  # nothing answered
    text: str = ""
    etag: str = ""


def _ask(url: str, headers: dict[str, str], method: str = "GET", seconds: float = 5) -> _Answer:
    """One request, past any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310
    try:
        with opener.open(request, timeout=seconds) as answer:
            etag = answer.headers.get("ETag", "")
            return _Answer(answer.status, answer.read().decode(), etag)
    except urllib.error.HTTPError as refused:
        refused.close()
        return _Answer(refused.code)
    except OSError:
        return _Answer()


if __name__ == "__main__":
    sys.exit(main())
