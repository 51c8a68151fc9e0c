"""What consoles, sync tools, editors and file systems put into a store, by its own means."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from tests.azure_server import ask
from unlearn_ray.storage.azure import AzureContainer
from unlearn_ray.storage.local import LocalFolder
from unlearn_ray.storage.s3 import S3Bucket
from unlearn_ray.storage.store import Store

# In each folder of a store: markers of folders, hidden files, copies and half files of sync
# tools, backups of editors.
IN_A_FOLDER = (
    "",
    "_$folder$",
    ".DS_Store",
    "._a.json",
    "Thumbs.db",
    "desktop.ini",
    "notes.txt",
    "#a.json#",
    "a.json~",
    "a.json.tmp",
    "a.json.4f1c.partial",
    "~$a.json",
    "older things/",
    "older things/a.json",
)


def put_stranger(store: Store, name: str, data: bytes = b"of somebody else") -> None:
    """Put an object that this package would not, or the marker of a folder."""
    objects = store.objects
    if isinstance(objects, S3Bucket):
        data = b"" if name.endswith("/") else data
        objects._connection.opened().client.put_object(
            Bucket=objects.bucket, Key=f"{objects.prefix}/{name}", Body=data
        )
        return
    if isinstance(objects, AzureContainer):
        data = b"" if name.endswith("/") else data
        blob = f"{objects.container}/{objects.prefix}/{name}"
        ask("PUT", str(objects.endpoint), blob, data)
        return
    assert isinstance(objects, LocalFolder)
    path = objects.folder / name
    folder = path if name.endswith("/") else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    if not name.endswith("/"):
        path.write_bytes(data)


def is_there(store: Store, name: str) -> bool:
    """Whether it is still there."""
    objects = store.objects
    if isinstance(objects, S3Bucket):
        found = objects._connection.opened().client.list_objects_v2(
            Bucket=objects.bucket, Prefix=f"{objects.prefix}/{name}"
        )
        return f"{objects.prefix}/{name}" in [each["Key"] for each in found.get("Contents", ())]
    if isinstance(objects, AzureContainer):
        listed = ask(
            "GET",
            str(objects.endpoint),
            objects.container,
            restype="container",
            comp="list",
            prefix=f"{objects.prefix}/{name}",
        )
        return f"<Name>{escape(objects.prefix)}/{escape(name)}</Name>".encode() in listed
    return Path(store.url, name).exists()


def surround(store: Store, folder: str) -> None:
    """Put everything of this kind into a folder of the store, "" or one that ends with a slash."""
    for name in IN_A_FOLDER:
        if folder or name:
            put_stranger(store, folder + name)
