"""The storage libraries: which one an address needs, and what it is told, so that it does not wait for ever."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from excel_cam.errors import UsageError
from excel_cam.files.remote.addresses import WEB, check, scheme_of, shown
from excel_cam.files.remote.faults import one_line
from excel_cam.wording import install_hint

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# Those that show an object once its upload has ended, and not before; nothing else is written to.
WRITABLE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "memory")
CONNECTING = 10  # seconds for a connection
SILENT = 30  # seconds without a byte
# botocore's tries within each of s3fs's: an unreachable storage is given up on after 2 * 2 * CONNECTING seconds, a
# silent one after 2 * 2 * SILENT, besides pauses. Their defaults come to 5 * 5 tries.
TRIES = 2
_S3FS_TRIES = 2
_PACKAGES = {
    "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "hf": "huggingface_hub",
    "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol",
}  # fmt: skip
_OF_THE_EXTRA = ("s3", "s3a", *WEB)
LARGE = 100 << 20  # bytes from which s3fs uploads in parts


def open_system(address: str) -> tuple[AbstractFileSystem, str]:
    """The file system of an address, and the path there; raises `UsageError` where no library has it."""
    check(address)
    scheme = scheme_of(address) or ""
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(address, **_options(scheme))
    except (ImportError, ValueError) as error:
        raise UsageError(f"{shown(address)}: {one_line(error, address)}; {_remedy(scheme)}") from None
    if scheme in ("s3", "s3a"):
        system.retries = _S3FS_TRIES
    return cast("AbstractFileSystem", system), path


def _remedy(scheme: str) -> str:
    if scheme in _OF_THE_EXTRA:
        return install_hint("remote")
    if scheme in _PACKAGES:
        return f"pip install {_PACKAGES[scheme]}"
    return "known are s3://, gs://, hf://, http://, https:// and what fsspec has besides"


def _options(scheme: str) -> dict[str, Any]:
    """What the library of a scheme is told; what the user's own configuration of fsspec says goes before it."""
    from fsspec.config import conf

    if scheme in WEB:
        import aiohttp

        # The library's own limit is for a whole file, however large.
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECTING, sock_read=SILENT)
        client = {"timeout": limits, "trust_env": True, **conf.get(scheme, {}).get("client_kwargs", {})}
        return {"client_kwargs": client}
    if scheme in ("s3", "s3a"):
        limits = {
            "connect_timeout": CONNECTING, "read_timeout": SILENT,
            "retries": {"total_max_attempts": TRIES, "mode": "standard"},
        }  # fmt: skip
        own = conf.get("s3", {}) | conf.get("s3a", {})
        return {"config_kwargs": limits | own.get("config_kwargs", {}), "use_listings_cache": False}
    return {"use_listings_cache": False}  # others write there too: what was listed is old at once


def upload(system: AbstractFileSystem, scheme: str, path: str, content: bytes | Path) -> None:
    """Put an object there, whole."""
    if isinstance(content, Path) and scheme in ("hf", "memory"):
        content = content.read_bytes()  # their library would leave what it had copied when it is interrupted
    if isinstance(content, bytes):
        system.pipe_file(path, content)
        return
    if scheme in ("s3", "s3a") and content.stat().st_size >= LARGE:
        _abort_abandoned_parts(system, path)
    system.put_file(str(content), path)


def _abort_abandoned_parts(system: Any, path: str) -> None:
    """Give up what killed uploads of this very object have left: parts that nobody sees and everybody pays for."""
    bucket, key, _ = system.split_path(path)
    try:
        found = system.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key).get("Uploads", [])
    except OSError:  # who may write need not be allowed to list what is unfinished
        return
    for unfinished in found:
        if unfinished["Key"] == key:
            system.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=unfinished["UploadId"])
