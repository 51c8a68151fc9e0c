"""Translates failed S3 requests into this package's errors.

Messages contain the server's error code and HTTP status, never its text: servers echo what was
signed, access keys included. For the same reason no library's text is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, InvalidRegionError, ParamValidationError
from botocore.parsers import ResponseParserError
from s3transfer.exceptions import RetriesExceededError
from urllib3.exceptions import HTTPError

from unlearn_ray.core.errors import (
    ConfigError,
    MissingObject,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnreachable,
    UnlearnRayError,
)
from unlearn_ray.storage.failures import (
    Failure,
    Patience,
    Request,
    shown_address,
    through_proxy,
)
from unlearn_ray.storage.s3_keys import CredentialsFailed, credentials_failure, setting_failure
from unlearn_ray.storage.s3_transport import unanswered


class NoS3Answer(Exception):
    """The answer lacks fields that every S3 server sends."""


# Every exception of a request that is not this package's own.
FOREIGN = (
    BotoCoreError,
    ClientError,
    CredentialsFailed,
    HTTPError,
    NoS3Answer,
    ResponseParserError,
    RetriesExceededError,
)
_WRONG_KEYS = {
    "InvalidAccessKeyId": "the server does not know the access key",
    "InvalidClientTokenId": "the server does not know the access key",
    "UnrecognizedClientException": "the server does not know the access key",
    "SignatureDoesNotMatch": "wrong credentials: the access key or the secret key",
    "InvalidToken": "the session token is not valid",
    "InvalidSecurity": "the credentials are not valid",
    "ExpiredToken": "the temporary credentials have expired",
    "ExpiredTokenException": "the temporary credentials have expired",
    "TokenRefreshRequired": "the temporary credentials have expired",
}
_WRONG_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_WRONG_REGION = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
}
_FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "InsufficientCapacity"}
_REGION = re.compile(r"[a-z]{2}[a-z0-9-]{1,30}")
_CHECK_ENDPOINT = (
    "set endpoint= in the URL, or AWS_ENDPOINT_URL, to the http(s)://host:port of its S3 API"
)


def status(error: ClientError) -> int:
    """The HTTP status of the answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code(error: ClientError) -> str:
    """The server's S3 error code; "" if the answer has none.

    botocore reports the status as the code if the body has none, as always after HEAD.
    """
    found = str(error.response.get("Error", {}).get("Code", ""))
    return "" if found.isdigit() or not found.isascii() or len(found) > 64 else found


def is_missing(error: ClientError) -> bool:
    """Whether the object (not the bucket) does not exist."""
    if status(error) != 404:
        return False
    return code(error) == "NoSuchKey" or error.operation_name.startswith("Head")


def genuine(answer: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """`answer`, if it has a field that every S3 server sends.

    Raises:
        NoS3Answer: it does not.
    """
    if field not in answer:
        raise NoS3Answer
    return answer


def failure(error: BaseException, request: Request) -> Failure:
    """Translate `error`, one of FOREIGN, that a request raised."""
    if isinstance(error, RetriesExceededError):
        return failure(error.last_exception, request)
    if isinstance(error, CredentialsFailed):
        return credentials_failure(error.cause, request)
    if isinstance(error, ClientError):
        return _refused(error, request)
    if isinstance(error, NoS3Answer | ResponseParserError):
        return _no_server(request)
    if isinstance(error, InvalidRegionError):
        text = f"{str(error.kwargs.get('region_name'))[:64]!r} is not a region name"
        remedy = "correct region= in the URL, AWS_DEFAULT_REGION or the AWS profile"
        return Failure(ConfigError(request.subject, text, remedy), Patience.NEVER)
    if isinstance(error, ParamValidationError):
        text = "a bucket or object of this name cannot exist"
        return Failure(ConfigError(request.subject, text, "rename it"), Patience.NEVER)
    if isinstance(error, BotoCoreError | HTTPError):
        found = unanswered(error, request)
        if found is not None:
            return found
    return setting_failure(error, request)


def _refused(error: ClientError, request: Request) -> Failure:
    number, name = status(error), code(error)
    if not name and not error.operation_name.startswith("Head"):
        return _unreadable(number, error, request)
    reason = f"the server answered {number} {name}".rstrip()
    subject = request.subject
    if name in _WRONG_KEYS:
        return Failure(
            StoreDenied(
                subject,
                f"{reason}: {_WRONG_KEYS[name]}",
                "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or"
                " the AWS profile that AWS_PROFILE names",
            ),
            Patience.NEW_KEYS,
        )
    if number in (401, 403) and name not in _WRONG_CLOCK | _FULL:
        return Failure(
            StoreDenied(
                subject,
                f"{reason}: these credentials lack the permission",
                f"grant them list, read, write and delete on bucket {request.bucket}",
            ),
            Patience.OTHER_KEYS,
        )
    if number == 400 and error.operation_name.startswith("Head"):  # or expired, without a word
        denied = StoreDenied(subject, reason, "check the credentials and the region")
        return Failure(denied, Patience.OTHER_KEYS)
    busy = number == 429 or (number >= 500 and number not in (501, 507) and name not in _FULL)
    if busy:
        text = reason + through_proxy(request)
        problem = StoreUnreachable(subject, text, "wait until the server is well, then run again")
        return Failure(problem, Patience.IF_KNOWN)
    return Failure(_final(error, request, reason), Patience.NEVER)


def _final(error: ClientError, request: Request, reason: str) -> UnlearnRayError:
    """Errors that no retry can change."""
    number, name, subject = status(error), code(error), request.subject
    if name == "NoSuchBucket":
        return StoreUnreachable(subject, f"{reason}: no bucket {request.bucket}", "create it first")
    if name == "InvalidBucketName":
        text = f"{reason}: no bucket can have the name {request.bucket}"
        remedy = "name a bucket: 3 to 63 lower-case letters, digits, dots and hyphens"
        return StoreUnreachable(subject, text, remedy)
    if name in _WRONG_CLOCK:
        return StoreDenied(subject, f"{reason}: the clocks differ", "set this machine's clock")
    if number in (301, 302, 307) or name in _WRONG_REGION:
        return _other_region(error, request, reason)
    if name in _FULL or number == 507:
        return StoreFull(subject, reason, "free space there or raise the quota, then run again")
    if number == 404:
        return MissingObject(subject, reason, "check that this is the store it was written to")
    if number == 501:
        return StoreError(
            subject,
            f"{reason}: the server does not support an operation",
            "use a server with conditional writes (If-None-Match on PutObject)",
        )
    if number in (400, 411):
        return StoreError(
            subject,
            reason,
            "if the server is an older one, set AWS_REQUEST_CHECKSUM_CALCULATION=when_required",
        )
    return StoreError(subject, reason, "see the server's log")


def _other_region(error: ClientError, request: Request, reason: str) -> UnlearnRayError:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    told = str(error.response["Error"].get("Region") or headers.get("x-amz-bucket-region"))
    asked = f" than {request.region}" if request.region else ""
    name = told if _REGION.fullmatch(told) else "NAME"
    return StoreUnreachable(
        request.subject,
        f"{reason}: the bucket is in another region{asked}",
        f"write region={name} in the store's URL",
    )


def _unreadable(number: int, error: ClientError, request: Request) -> Failure:
    """An answer that is not from an S3 server: from a web server, a proxy, a load balancer."""
    via = through_proxy(request)
    if number == 407:
        text = f"the server answered 407{via}: it requires a user name and password"
        remedy = "write http://user:password@host:port, or add the store's host to NO_PROXY"
        return Failure(StoreUnreachable(request.subject, text, remedy), Patience.NEVER)
    if number == 429 or number >= 502:
        text = f"the server answered {number}{via}"
        remedy = f"wait until the server is well, then run again; or {_CHECK_ENDPOINT}"
        return Failure(StoreUnreachable(request.subject, text, remedy), Patience.IF_KNOWN)
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    page = " with a web page" if "html" in str(headers.get("content-type")) else ""
    # botocore reports an answer that it cannot parse as status 500.
    answer = f" {number}{page}" if number != 500 else page or " with something else"
    return _no_server(request, answer)


def _no_server(request: Request, answer: str = "") -> Failure:
    where = shown_address(request.endpoint) or "the endpoint"
    said = f" (it answered{answer})" if answer else ""
    remedy = _CHECK_ENDPOINT
    if request.endpoint.startswith("http:"):
        remedy += ", with https:// if it requires TLS"
    if through_proxy(request):
        remedy += "; or add its host to NO_PROXY"
    text = f"the server at {where}{through_proxy(request)} is not an S3 server{said}"
    # While an S3 server restarts, something else may answer in its place.
    return Failure(StoreUnreachable(request.subject, text, remedy), Patience.IF_MET)
