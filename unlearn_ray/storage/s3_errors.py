"""What a failed S3 request means, in the words of the error tree.

Messages hold the server's error code and HTTP status, never its text: servers repeat what was
signed, access keys included.
"""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from unlearn_ray.core.errors import (
    ConfigError,
    MissingObject,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnreachable,
    UnlearnRayError,
)

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
_WRONG_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
}
_WRONG_REGION = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
}
_FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "InsufficientCapacity"}


def status(error: ClientError) -> int:
    """The HTTP status of the answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_missing(error: ClientError) -> bool:
    """Whether the object (not the bucket) does not exist."""
    code = error.response.get("Error", {}).get("Code", "")
    return status(error) == 404 and code != "NoSuchBucket"


def is_away(error: BotoCoreError | ClientError) -> bool:
    """Whether the server did not answer, or could not: the same request may succeed later."""
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        number = status(error)
        return number == 429 or (number >= 500 and number not in (501, 507) and code not in _FULL)
    return isinstance(error, BotoConnectionError | HTTPClientError | IncompleteReadError)


def explained(error: BotoCoreError | ClientError, subject: str, bucket: str) -> UnlearnRayError:
    """The error of the tree that says what `error` means and what to do about it."""
    if isinstance(error, ClientError):
        return _refused(error, subject, bucket)
    kind = type(error).__name__
    if isinstance(error, _NO_CREDENTIALS):
        return StoreDenied(
            subject,
            f"no usable credentials ({kind})",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, on every node",
        )
    if is_away(error):
        return StoreUnreachable(
            subject,
            f"no answer from the endpoint ({kind})",
            "check that the server runs and that endpoint= in the URL, or AWS_ENDPOINT_URL,"
            " names its http(s)://host:port",
        )
    if isinstance(error, ParamValidationError):
        return ConfigError(subject, "a bucket or object of this name cannot exist", "rename it")
    return StoreError(subject, f"the request failed ({kind})", "check the store and run again")


def _refused(error: ClientError, subject: str, bucket: str) -> StoreError:
    code = error.response.get("Error", {}).get("Code", "") or "no code"
    number = status(error)
    reason = f"the server answered {number} {code}"
    if code == "NoSuchBucket":
        return StoreUnreachable(subject, f"{reason}: no bucket {bucket}", "create it first")
    if number == 404:
        return MissingObject(subject, reason, "check that this is the store it was written to")
    if code == "RequestTimeTooSkewed":
        return StoreDenied(subject, reason, "set this machine's clock")
    if code in _WRONG_CREDENTIALS:
        return StoreDenied(
            subject,
            f"{reason}: wrong credentials",
            "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    if number in (301, 307) or code in _WRONG_REGION:
        return StoreUnreachable(
            subject, f"{reason}: another region", "add region=NAME to the store's URL"
        )
    if code in _FULL or number == 507:
        return StoreFull(subject, reason, "free space there or raise the quota, then run again")
    if number in (401, 403):
        return StoreDenied(
            subject,
            f"{reason}: these credentials may not do that",
            f"grant them list, read, write and delete on bucket {bucket}",
        )
    return _failed(subject, number, reason)


def _failed(subject: str, number: int, reason: str) -> StoreError:
    if number == 501:
        return StoreError(
            subject,
            f"{reason}: it lacks an operation",
            "use a server with conditional writes (If-None-Match on PutObject)",
        )
    if number in (400, 411):
        return StoreError(
            subject,
            reason,
            "if the server is an older one, set AWS_REQUEST_CHECKSUM_CALCULATION=when_required",
        )
    if number >= 500 or number == 429:
        return StoreUnreachable(subject, reason, "wait until the server is well, then run again")
    return StoreError(subject, reason, "see the server's log")
