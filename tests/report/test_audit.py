"""Audits of requests: scores, sets, chains of digests, signatures; and what was tampered with."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

import unlearn_ray.report.evidence
from tests.report.finished import copy_of
from tests.takeaway.stores import CLASSIFIERS, finished
from unlearn_ray.cli.main import main
from unlearn_ray.core.errors import Exit
from unlearn_ray.core.keys import content_key
from unlearn_ray.report.audit import audit, plain
from unlearn_ray.report.evidence import sweep_evidence
from unlearn_ray.report.request import read_request
from unlearn_ray.report.signing import signer
from unlearn_ray.storage.observations import OBSERVED, unpack
from unlearn_ray.storage.store import Store, open_store

NAMED = (3, 17, 256, 500, 731)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a request, and the store of the sweep that forgot it."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "ids.txt").write_text("# asked on Monday\n" + "".join(f"{id_}\n" for id_ in NAMED))
    named = f"{{ids: {{file: {folder}/ids.txt}}}}"
    text = CLASSIFIERS.replace('{classes: {classes: ["7"]}}', named)
    assert "ids.txt" in text
    finished(folder, text.replace("name: sevens", "name: asked"))
    return folder


def by_command(store: str, folder: Path, request: Path, *options: str) -> tuple[int, Any]:
    """The exit status, and the file of the audit."""
    page = folder / "report.html"
    words = ["results", store, "report", "--audit", str(request), "--output", str(page)]
    status = main([*words, *options])
    return status, json.loads((folder / "report.audit.json").read_text())


def audited(store: Store, request: Path) -> dict[str, Any]:
    """The same without a page."""
    evidence = sweep_evidence(store)
    return plain(audit(evidence, read_request(request, evidence.kept, evidence.sweep)))


def record_of(store: Store, kind: str, key: str) -> Any:
    record = store.record(kind, key)
    assert record is not None
    return record


def test_scores_sets_and_digests(asked: Path, tmp_path: Path) -> None:
    store = open_store(str(asked / "store"))
    status, told = by_command(store.url, tmp_path, asked / "ids.txt")
    assert (status, told["holds"], told["sweep"]) == (Exit.DONE, True, "asked")
    assert told["request"]["samples"] == len(NAMED)
    assert (
        told["request"]["file_sha256"]
        == hashlib.sha256((asked / "ids.txt").read_bytes()).hexdigest()
    )
    assert [one["study"] for one in told["models"]] == ["finetune", "away"]
    for model in told["models"]:
        assert model["named_samples"] == {
            "forget": len(NAMED), "retain": 0, "validation": 0, "in_no_set": 0,
        }  # fmt: skip
        assert model["request_is_the_forget_set"] is True
        assert model["intact"] is True
        links = {link["role"]: link for link in model["chain"]}
        assert links["unlearned"]["config"]["inputs"]["original"] == links["original"]["key"]
        for link in links.values():
            record = record_of(store, link["kind"], link["key"])
            assert content_key(link["config"]) == link["key"]
            for name, file in link["files"].items():
                data = store.read_artifact(record, name)
                assert file == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        samples = record_of(store, "samples", links["sets"]["key"])
        columns = unpack(store.read_artifact(samples, OBSERVED), "samples")
        for when in ("before", "after", "retrained"):
            outputs = record_of(store, "observe", links[f"outputs {when}"]["key"])
            logits = unpack(store.read_artifact(outputs, OBSERVED), when)
            check(model["samples"], when, columns, logits)
    page = (tmp_path / "report.html").read_text()
    assert "Audit of a request" in page


def check(samples: list[dict[str, Any]], when: str, columns: Any, logits: Any) -> None:
    """Each sample's scores, by a computation of their own."""

    def loss(part: str, place: int) -> tuple[float, int]:
        row = [float(value) for value in logits[part]["value"][place]]
        label = int(columns[part]["label"][place])
        return math.log(sum(math.exp(value - row[label]) for value in row)), label

    forgotten = columns["forget"]["id"].tolist()
    unseen = [loss("test", place) for place in range(len(columns["test"]["id"]))]
    for sample in samples:
        assert sample["set"] == "forget"
        own, label = loss("forget", forgotten.index(sample["id"]))
        assert sample[when]["loss"] == pytest.approx(own, rel=1e-4, abs=1e-6)
        confidence = -math.log(math.expm1(own)) if own > 1e-6 else math.inf
        assert sample[when]["confidence"] == pytest.approx(confidence, rel=1e-3, abs=1e-3)
        alike = [other for other, of in unseen if of == label]
        share = sum(other <= own + 1e-9 for other in alike) / len(alike)
        assert sample[when]["test_samples_as_confident"] == pytest.approx(share)


def test_every_study_is_audited_however_many_figures_show(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlearn_ray.report.evidence, "MOST_STUDIES", 1)
    store = open_store(str(asked / "store"))
    assert len(sweep_evidence(store).observations.studies) == 1
    told = audited(store, asked / "ids.txt")
    assert [one["study"] for one in told["models"]] == ["finetune", "away"]
    assert (told["holds"], told["not_audited"]) == (True, [])


def test_samples_that_were_not_forgotten_are_told(asked: Path, tmp_path: Path) -> None:
    store = open_store(str(asked / "store"))
    key = next(iter(store.records("samples")))
    columns = unpack(store.read_artifact(record_of(store, "samples", key), OBSERVED), key)
    kept = int(columns["retain"]["id"][0])
    other = tmp_path / "other.txt"
    other.write_text(f"{NAMED[0]}\n{kept}\n")
    status, told = by_command(store.url, tmp_path, other)
    assert (status, told["holds"]) == (Exit.SOME_FAILED, False)
    for model in told["models"]:
        assert model["named_samples"]["forget"] == 1
        assert model["request_is_the_forget_set"] is False
        sets = {sample["id"]: sample["set"] for sample in model["samples"]}
        assert sets[NAMED[0]] == "forget"
        assert sets[kept] in ("retain", "validation")


@pytest.mark.parametrize("kind", ["unlearn", "pretrain", "retrain", "samples", "observe"])
def test_altered_files_break_the_chain(asked: Path, tmp_path: Path, kind: str) -> None:
    store = copy_of(asked / "store", tmp_path)
    for key in store.records(kind):
        for entry in record_of(store, kind, key).files.values():
            data = bytearray(store.objects.read(entry.name))
            data[len(data) // 2] ^= 1
            store.objects.write(entry.name, bytes(data))
    told = audited(store, asked / "ids.txt")
    assert told["holds"] is False
    for model in told["models"]:
        broken = {link["kind"] for link in model["chain"] if not link["intact"]}
        assert broken == {kind}


def test_altered_records_break_the_chain(asked: Path, tmp_path: Path) -> None:
    store = copy_of(asked / "store", tmp_path)
    for key in store.records("unlearn"):
        name = f"records/unlearn/{key}.json"
        told = json.loads(store.objects.read(name))
        told["config"]["replicate"] = 7
        store.objects.write(name, json.dumps(told).encode())
    found = audited(store, asked / "ids.txt")
    assert found["holds"] is False
    for model in found["models"]:
        (broken,) = (link for link in model["chain"] if not link["intact"])
        assert broken["problem"] == "its config is not what its key hashes"


def test_removed_weights_are_told(asked: Path, tmp_path: Path) -> None:
    store = copy_of(asked / "store", tmp_path)
    for key in store.records("unlearn"):
        store.remove_artifact(record_of(store, "unlearn", key).files)
    told = audited(store, asked / "ids.txt")
    assert told["holds"] is False
    problems = [link.get("problem", "") for one in told["models"] for link in one["chain"]]
    assert any("model.safetensors: no object artifacts/unlearn/" in each for each in problems)


def test_sets_are_known_without_outputs(asked: Path, tmp_path: Path) -> None:
    store = copy_of(asked / "store", tmp_path)
    for key in store.records("observe"):
        store.remove_artifact(record_of(store, "observe", key).files)
    for model in audited(store, asked / "ids.txt")["models"]:
        assert model["named_samples"]["forget"] == len(NAMED)
        assert len(model["missing"]) >= 3
        assert all("before" not in sample for sample in model["samples"])


def test_links_of_another_forget_set_are_told(asked: Path, tmp_path: Path) -> None:
    store = copy_of(asked / "store", tmp_path)
    for key in store.records("observe"):
        name = f"records/observe/{key}.json"
        told = json.loads(store.objects.read(name))
        told["config"]["seed"] = 3
        store.objects.write(name, json.dumps(told).encode())
    for model in audited(store, asked / "ids.txt")["models"]:
        for link in model["chain"]:
            if link["kind"] == "observe":
                assert "its seed is not that of the links before it" in link["problem"]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key as the documentation makes it."""
    file = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(file)], check=True)
    return file


def verified(folder: Path) -> bool:
    """What openssl says of an audit's signature."""
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "report.audit.pub.pem", "-rawin"]
    words += ["-in", "report.audit.json", "-sigfile", "report.audit.json.sig"]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode == 0


def test_openssl_verifies_what_was_signed_and_nothing_else(
    asked: Path, tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = asked / "ids.txt"
    status, told = by_command(str(asked / "store"), tmp_path, request, "--sign", str(key))
    assert status == Exit.DONE
    assert told["signed_by"] == {"ed25519_sha256": signer(key).fingerprint}
    assert verified(tmp_path)
    said = capsys.readouterr()
    secret = "".join(key.read_text().splitlines()[1:-1])
    for text in (said.out, said.err, *(p.read_bytes().decode("latin1") for p in outputs(tmp_path))):
        assert secret not in text
    file = tmp_path / "report.audit.json"
    file.write_bytes(file.read_bytes().replace(b'"forget": 5', b'"forget": 6'))
    assert not verified(tmp_path)


def outputs(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith("report")]


def test_keys_that_cannot_sign_are_refused_without_showing_them(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {
        "rsa.pem": ["openssl", "genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"],
        "locked.pem": [
            *("openssl", "genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x")
        ],
    }
    for name, words in made.items():
        subprocess.run([*words, "-out", str(tmp_path / name)], check=True, capture_output=True)
    (tmp_path / "text.pem").write_text("MC4CAQAwBQYDK2VwBCIEIsecret")
    reasons = {
        "rsa.pem": "is no key of Ed25519",
        "locked.pem": "the key is encrypted",
        "text.pem": "is no private key in PEM",
        "none.pem": "no such file",
    }
    for name, reason in reasons.items():
        words = ["results", str(asked / "store"), "report", "--audit", str(asked / "ids.txt")]
        words += ["--output", str(tmp_path / "report.html"), "--sign", str(tmp_path / name)]
        assert main(words) == Exit.BAD_INPUT
        said = capsys.readouterr().err
        assert reason in said
        assert "secret" not in said
    assert not outputs(tmp_path)
    assert "secret" not in repr(signer_of_a_new_key(tmp_path))


def signer_of_a_new_key(folder: Path) -> Any:
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(folder / "k.pem")], check=True
    )
    return signer(folder / "k.pem")


def test_requests_that_cannot_be_read_are_refused(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = tmp_path / "unknown.txt"
    unknown.write_text("99999\n")
    page = str(tmp_path / "report.html")
    store = str(asked / "store")
    for request in (unknown, tmp_path / "none.txt"):
        words = ["results", store, "report", "--audit", str(request), "--output", page]
        assert main(words) == Exit.BAD_INPUT
    assert main(["results", store, "report", "--sign", "key.pem", "--output", page]) == (
        Exit.BAD_INPUT
    )
    assert "there is no audit to sign" in capsys.readouterr().err
