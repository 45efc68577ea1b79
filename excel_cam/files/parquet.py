"""Parquet files are read and written by pyarrow (extra `shards`), which is loaded when the first one is met."""

from __future__ import annotations

from typing import Any

from excel_cam.errors import UsageError
from excel_cam.wording import install_hint


def require_pyarrow() -> Any:
    """pyarrow with its Parquet part; raises `UsageError` where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(f"photographs and labels in shards need pyarrow: {install_hint('shards')}") from None
    return pyarrow
