"""The image, the runtime environment and local.sh, as far as they can be checked unbuilt."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ray.runtime_env import RuntimeEnv

from tests.cluster.files import CLUSTER, PROGRAMS, ROOT, load, pinned

DOCKERFILE = (CLUSTER / "Dockerfile").read_text()


def lint(text: str) -> str:
    # Debian keeps one version of each package: none can be pinned.
    command = [str(PROGRAMS / "hadolint"), "--no-color", "--ignore=DL3008", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True).stdout


def test_the_dockerfile_passes_hadolint() -> None:
    assert lint(DOCKERFILE) == ""


@pytest.mark.parametrize(
    ("line", "instead", "says"),
    [
        ("FROM python:3.11-slim-bookworm", "FROM python", "DL3006"),
        ("WORKDIR /home/ray/unlearn_ray", "WORKDIR unlearn_ray", "DL3000"),
        ("COPY sweeps sweeps", "COPY sweeps store sweeps", "DL3021"),
        ("--no-cache-dir ", "", "DL3042"),
        ("USER 1000", "USER root", "DL3002"),
    ],
)
def test_mistakes_do_not_pass_hadolint(line: str, instead: str, says: str) -> None:
    assert line in DOCKERFILE
    assert says in lint(DOCKERFILE.replace(line, instead))


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    copied = [
        source
        for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    ignore = (CLUSTER / "Dockerfile.dockerignore").read_text().split()
    assert copied != []
    assert ignore[0] == "*"
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignore


def test_what_the_image_installs_is_pinned() -> None:
    assert "pip install --no-cache-dir --constraint constraints.txt '.[run,clip,s3]'" in DOCKERFILE
    for package in ("ray", "torch", "google-api-python-client"):
        assert pinned(package)


def test_the_runtime_environment_is_valid_and_says_which_ray_it_needs() -> None:
    environment = load("runtime_env.yaml")
    RuntimeEnv(**environment, working_dir=str(ROOT))
    assert f"Ray {pinned('ray')} alone" in (CLUSTER / "runtime_env.yaml").read_text()
    # Ray prints runtime environments: nothing of a secret belongs there.
    assert "env_vars" not in environment


def test_the_upload_of_the_working_folder_is_small(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package, get_uri_for_directory

    excludes = [".git", ".venv", "venv", "__pycache__", *load("runtime_env.yaml")["excludes"]]
    uri = get_uri_for_directory(str(ROOT), include_gitignore=True, excludes=excludes)
    package = tmp_path / uri.split("/")[-1]
    create_package(str(ROOT), package, include_gitignore=True, excludes=excludes)
    assert package.stat().st_size < 5 << 20, "Ray refuses more than 100 MiB"


def test_local_sh_passes_shellcheck() -> None:
    command = [str(PROGRAMS / "shellcheck"), str(CLUSTER / "local.sh")]
    check = subprocess.run(command, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
