"""Translates obstore's errors of Azure requests into this package's errors.

obstore tells status and code within its text alone. Messages contain these, never the text:
servers echo what was signed, and URLs may hold signatures.
"""

from __future__ import annotations

import re

from unlearn_ray.core.errors import (
    ConfigError,
    MissingObject,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnreachable,
    UnlearnRayError,
    shown,
)
from unlearn_ray.storage.failures import Failure, Patience, Request, shown_address, through_proxy

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_BAD_PATH = re.compile(r'Path "([^"]*)"')
_DELETED = re.compile(r"\(code: (\d{3})\)")
_KEYS = (
    "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or a service principal's "
    "AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID, or give the machine an identity, on "
    "every node"
)
_CHECK_ENDPOINT = (
    "check account= and endpoint= in the URL, or AZURE_STORAGE_ACCOUNT_NAME, and the network"
)
_FULL = {"AccountStorageLimitExceeded", "InsufficientAccountSpace", "StorageCapacityExceeded"}
_WRONG_KEYS = {"AuthenticationFailed", "AuthorizationFailure", "InvalidAuthenticationInfo"}


def _errors() -> tuple[type[Exception], ...]:
    try:
        from obstore.exceptions import BaseError
    except ImportError:
        return ()
    # It also raises ValueError, and FileNotFoundError for what is missing.
    return (BaseError, FileNotFoundError, ValueError)


# Every exception of a request that is not this package's own.
FOREIGN = _errors()


def status(error: BaseException) -> int:
    """The HTTP status of the answer; 0 if there was none."""
    found = _STATUS.search(str(error)) or _DELETED.search(str(error))
    return int(found[1]) if found else 0


def code(error: BaseException) -> str:
    """The server's error code; "" if the answer has none."""
    found = _CODE.search(str(error))
    return found[1] if found else ""


def exists(error: BaseException) -> bool:
    """Whether a create found an object."""
    kind = type(error).__name__
    return kind == "AlreadyExistsError" and code(error) in ("BlobAlreadyExists", "")


def is_missing(error: BaseException) -> bool:
    """Whether the object (not the container) does not exist."""
    return isinstance(error, FileNotFoundError) and code(error) != "ContainerNotFound"


def failure(error: BaseException, request: Request) -> Failure:
    """Translate `error`, one of FOREIGN, that a request raised."""
    number, name = status(error), code(error)
    if "token request" in str(error):
        denied = StoreDenied(request.subject, _tokenless(number), _KEYS)
        return Failure(denied, Patience.IF_MET)
    if type(error).__name__ == "InvalidPathError":
        found = _BAD_PATH.search(str(error))
        text = (
            f"a blob in it has a name that obstore cannot list: {shown(found[1] if found else '')}"
        )
        remedy = "remove it (an empty part, . or .. in a name), or use another prefix"
        return Failure(StoreError(request.subject, text, remedy), Patience.NEVER)
    if not number and not isinstance(error, FileNotFoundError):
        return _unanswered(str(error), request)
    reason = f"the server answered {number} {name}".rstrip()
    if number == 429 or (number >= 500 and number not in (501, 507)):
        text = "wait until the server is well, then run again"
        return Failure(StoreUnreachable(request.subject, reason, text), Patience.IF_KNOWN)
    return Failure(_final(number, name, request, reason), Patience.NEVER)


def _tokenless(number: int) -> str:
    said = f" (answered {number})" if number else ""
    return f"no credentials: none in the environment, and no identity of this machine{said}"


def _final(number: int, name: str, request: Request, reason: str) -> UnlearnRayError:
    """Errors that no retry can change."""
    subject = request.subject
    if name in ("ContainerNotFound", "ContainerBeingDeleted"):
        text = f"{reason}: no container {request.bucket}"
        return StoreUnreachable(subject, text, "create it first")
    if name in _FULL or number == 507:
        return StoreFull(subject, reason, "free space there or raise the quota, then run again")
    if name in _WRONG_KEYS or number == 401:
        text = f"{reason}: wrong credentials, or this machine's clock is wrong"
        return StoreDenied(subject, text, _KEYS)
    if number == 403:
        remedy = f"grant them list, read, write and delete on container {request.bucket}"
        return StoreDenied(subject, f"{reason}: these credentials lack the permission", remedy)
    if number in (0, 404):
        return MissingObject(subject, reason, "check that this is the store it was written to")
    return StoreError(subject, reason, "see the server's log")


def _unanswered(text: str, request: Request) -> Failure:
    """No answer, or no request: told by what the text contains, which is not repeated."""
    where = shown_address(request.endpoint) or "the account's endpoint"
    lowered = text.lower()
    if "account" in lowered and "must be specified" in lowered:
        reason = "no storage account is named"
        remedy = "write az://container/prefix?account=NAME, or set AZURE_STORAGE_ACCOUNT_NAME"
        return Failure(ConfigError(request.subject, reason, remedy), Patience.NEVER)
    if "invalid access key" in lowered:
        reason = "the account key is not base64"
        remedy = "copy AZURE_STORAGE_ACCOUNT_KEY again, whole"
        return Failure(StoreDenied(request.subject, reason, remedy), Patience.NEVER)
    if "sas query pair" in lowered:
        reason = "the shared access signature is not one"
        remedy = "copy AZURE_STORAGE_SAS_TOKEN again, whole"
        return Failure(StoreDenied(request.subject, reason, remedy), Patience.NEVER)
    if "certificate" in lowered:
        reason = f"{where}: its certificate is not trusted on this machine"
        remedy = (
            "put its authority's certificate into a file that SSL_CERT_FILE names, on every node"
        )
        return Failure(StoreUnreachable(request.subject, reason, remedy), Patience.NEVER)
    if "error sending request" in lowered or "http error" in lowered or "timed out" in lowered:
        reason = f"no answer from {where}{through_proxy(request)}"
        unreachable = StoreUnreachable(request.subject, reason, _CHECK_ENDPOINT)
        return Failure(unreachable, Patience.IF_KNOWN)
    problem = StoreError(request.subject, "the request failed", _CHECK_ENDPOINT)
    return Failure(problem, Patience.NEVER)
