"""What is a store's URL, what is a folder, and what is neither and never becomes one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.s3_server import S3Server
from unlearn_ray import results, sweep
from unlearn_ray.core.errors import ConfigError, without_secrets
from unlearn_ray.storage.local import LocalFolder
from unlearn_ray.storage.store import open_store

SECRET = "wJalrXUtnFEMI"
BEGINS = "a bucket's URL begins with s3://"
REFUSED = {
    "s3:/bucket": BEGINS,
    "s3:bucket": BEGINS,
    "S3://bucket": BEGINS,
    "s3//bucket": BEGINS,
    "s3:\\\\bucket": BEGINS,
    " s3://bucket": BEGINS,
    "'s3://bucket'": BEGINS,
    "s3a://bucket": "unknown scheme s3a",
    "gs://bucket/p": "unknown scheme gs",
    "gs:bucket": "unknown scheme gs",
    "https://host/p": "unknown scheme https",
    "http:/host": "unknown scheme http",
    "file:///store": "unknown scheme file",
    "arn:aws:s3:::bucket": "unknown scheme arn",
    "localhost:9000/bucket": "a server's address is not a store",
    "127.0.0.1:9000": "a server's address is not a store",
    "": "empty",
    "a\nb": "control character",
    "a\0b": "control character",
    "a\udc80": "not Unicode",
    "~no-such-user/store": "no such user",
    # Buckets.
    "s3://": "no bucket",
    "s3:///bucket": "no bucket",
    "s3://b": "'b' is not a bucket",
    "s3://a b": "'a b' is not a bucket",
    "s3://größe": "is not a bucket",
    "s3://host:9000/bucket": "host:9000 is a server, not a bucket; write s3://bucket/prefix?end",
    # Prefixes.
    "s3://bucket//p": "empty part",
    "s3://bucket/p//": "empty part",
    "s3://bucket/p/../q": "one that is . or ..",
    "s3://bucket/.": "one that is . or ..",
    "s3://bucket/ p": "white space",
    "s3://bucket/p ": "white space",
    "s3://bucket/a%20b": "%20 in a prefix is ambiguous",
    "s3://bucket/a#b": "# in a prefix is ambiguous",
    "s3://bucket/" + "x" * 600: "a prefix of 600 bytes; write at most 512",
    # Azure.
    "az://": "no bucket; write az://container/prefix?account=NAME",
    "az:container": "unknown scheme az",
    "az://host:9000/c": "write az://bucket/prefix?endpoint=http://host:9000",
    "az://container//p": "empty part",
    "az://container/p?region=x": "unknown option region",
    "az://container/p?account=No_Name": "account is not the name of a storage account",
    "az://container/p?account=a&account=b": "account must be given once",
    "az://container/p?endpoint=host": "write endpoint=http://host, or https://",
    # Options.
    "s3://bucket/p?regoin=x": "unknown option regoin; did you mean region?",
    "s3://bucket/p?Endpoint=http://h": "an unknown option; did you mean endpoint?",
    "s3://bucket/p?region": "region must be given once, with a value",
    "s3://bucket/p?region=": "region must be given once, with a value",
    "s3://bucket/p?region=a&region=b": "region must be given once, with a value",
    "s3://bucket/p?region=us east": "region is not a region name",
    "s3://bucket/p?endpoint=host:9000": "write endpoint=http://host:9000, or https://",
    "s3://bucket/p?endpoint=//host": "not http(s)://host:port",
    "s3://bucket/p?endpoint=ftp://host": "not http(s)://host:port",
    "s3://bucket/p?endpoint=http://": "not http(s)://host:port",
    "s3://bucket/p?endpoint=http://host:": "not http(s)://host:port",
    "s3://bucket/p?endpoint=http://host:0": "not http(s)://host:port",
    "s3://bucket/p?endpoint=http://host:99999": "not http(s)://host:port",
    "s3://bucket/p?endpoint=http://a..b": "not http(s)://host:port",
    "s3://bucket/p?endpoint=http://[::1": "not http(s)://host:port",
    "s3://bucket/p?endpoint=http://h/%0a": "not http(s)://host:port",
    "s3://bucket/p?endpoint=http://h?x=1": "not http(s)://host:port",
}
WITH_SECRETS = [
    f"s3://KEY:{SECRET}@bucket/p",
    f"s3://KEY:AB/{SECRET}/CD@bucket/p",
    f"s3://KEY:AB@{SECRET}@bucket",
    f"s3://KEY:AB?{SECRET}@bucket",
    f"s3://KEY:AB#{SECRET}@bucket",
    f"s3://KEY:{SECRET}%40bucket",
    f"s3://KEY:{SECRET}/bucket",
    f"s3://KEY:{SECRET}:bucket",
    f"s3://KEY:AB {SECRET}@bucket",
    f"s3:/KEY:{SECRET}@bucket",
    f"s3:KEY:{SECRET}/bucket",
    f"KEY:{SECRET}@bucket",
    f"KEY:AB/{SECRET}@bucket/p",
    f"https://me:{SECRET}@host/bucket",
    f"https://host/bucket?X-Amz-Signature={SECRET}",
    f"s3://bucket/p?secret_key={SECRET}",
    f"s3://bucket/p?{SECRET}",
    f"az://name:{SECRET}@container/p",
    f"az://container/p?sas={SECRET}",
    f"az://container/p?account={SECRET}",
    f"az://container/p?endpoint=http://me:{SECRET}@host",
    f"s3://bucket/p?endpoint=http://me:{SECRET}@host",
    f"s3://bucket/p?endpoint=http://host:1?key={SECRET}",
    f"s3://bucket/p?endpoint=http://host:1&key={SECRET}",
    f"s3://bucket/p?endpoint=me:{SECRET}",
]


@pytest.mark.parametrize("url", REFUSED)
def test_neither_a_bucket_nor_a_folder(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        open_store(url)
    assert REFUSED[url] in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 400
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", WITH_SECRETS)
def test_no_secret_of_a_url_is_repeated(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as error:
        open_store(url)
    assert SECRET not in repr(error.value)
    assert "AB" not in str(error.value)
    sweeps = Path(__file__).parents[2] / "sweeps"
    file = str(next(sweeps.glob("quickstart.yaml")))
    for command, arguments in (
        (sweep.main, ["plan", file, "--store", url]),
        (sweep.main, ["plan", file, "--set", f"store={url}"]),
        (sweep.main, ["status", url]),
        (results.main, [url, "best"]),
    ):
        assert command(arguments) == 2
        said = capfd.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1
        assert said.err.startswith("error: ")
        assert SECRET not in said.err


@pytest.mark.parametrize("slip", ["stor=", "store.x=", "store:", "store=[", 'store="'])
def test_a_secret_in_a_mistyped_override(slip: str, capfd: pytest.CaptureFixture[str]) -> None:
    file = str(Path(__file__).parents[2] / "sweeps" / "quickstart.yaml")
    for url in (f"s3://KEY:AB/{SECRET}@bucket", f"s3://bucket/p?secret_key={SECRET}"):
        assert sweep.main(["plan", file, "--set", slip + url]) == 2
        said = capfd.readouterr().err
        assert said.startswith("error: --set store"[:15])
        assert SECRET not in said


def test_what_is_no_secret_is_repeated() -> None:
    for text in (
        "store s3://bucket/p?endpoint=http://host:1&region=eu-west-1: gone; see a@b.org",
        "sweeps/x.yaml:14: methods.scrub: unknown field; did you mean a@b?",
    ):
        assert without_secrets(text) == text


@pytest.mark.parametrize("name", ["store", "run:2", "./s3:/x", "C:/store", "a@b", "größe", "a b"])
def test_folders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(name)
    assert isinstance(store.objects, LocalFolder)
    store.objects.write("x", b"1")
    assert (tmp_path / name / "x").read_bytes() == b"1"
    assert open_store(store.url).objects.read("x") == b"1"


def test_a_relative_folder_of_a_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="no folder to start from"):
        open_store("store")


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket.with.dots/a b/größe/+=&;,!~'()*$",
        "s3://bucket/p?endpoint=http://[::1]:9000&region=us-east-1",
        "s3://bucket/p?endpoint=https://host/storage/v1/s3",
        "s3://bucket/p?endpoint=http%3A%2F%2Fhost%3A1",
        "s3://bucket/p/?",
        "az://container",
        "az://container/p?account=name&endpoint=https://host/name",
    ],
)
def test_a_bucket_is_the_same_after_its_url(url: str) -> None:
    once = open_store(url).url
    assert once.startswith(("s3://bucket", "az://container"))
    assert open_store(once).url == once


@pytest.mark.parametrize("prefix", ["größe/a b", "+=&;,!~'()*$", "😀", "x" * 500])
def test_odd_prefixes_on_a_server(s3_server: S3Server, prefix: str) -> None:
    store = open_store(s3_server.store_url(prefix))
    store.objects.write("a/x", b"1")
    assert store.objects.read("a/x") == b"1"
    assert store.objects.names("") == ["a/x"]
    assert open_store(store.url).objects.read("a/x") == b"1"


PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "s3://",
                "az://",
                "account=",
                "s3:",
                "S3:/",
                "http://",
                "gs:",
                "//",
                "/",
                "/",
                ":",
                "@",
                "%40",
                "?",
                "&",
            ),
            *("=", "endpoint=", "region=", "secret_key=", "bucket", "us-east-1", "host:9000"),
            *("..", ".", "~", "#", "%2F", "\\", " ", "\n", "\0", "é", "[::1]", "*", "'", SECRET),
        ]
    ),
    max_size=10,
).map("".join)


@given(url=PIECES)
@settings(max_examples=1500, deadline=None)
def test_any_text_is_a_store_or_one_line_without_secrets(url: str) -> None:
    try:
        store = open_store(url)
    except ConfigError as error:
        said = str(error)
        assert len(said.splitlines()) == 1
        assert len(said) < 500
        before, _, after = url.replace("%40", "@").rpartition("@")
        if SECRET in before and SECRET not in after:
            assert SECRET not in said
        if url.endswith((f"?{SECRET}", f"?secret_key={SECRET}", f"&secret_key={SECRET}")):
            assert url.count(SECRET) > 1 or SECRET not in said
    else:
        assert open_store(store.url).url == store.url


@pytest.mark.parametrize("part", ["a", "a:", "://", "a@", "?", "x://?a=:", "&a=:", "1."])
def test_a_long_text_is_looked_through_at_once(part: str) -> None:
    text = "s3://b?secret=" + part * (300_000 // len(part)) + "x"
    began = time.process_time()
    assert "***" in without_secrets(text)
    assert time.process_time() - began < 2.0


def test_what_stands_before_a_url_hides_no_option() -> None:
    assert without_secrets("why?s3://b?secret=x;") == "why?s3://b?secret=***;"
