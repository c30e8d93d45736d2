"""The daemon's configuration as a file: opened, bounded, and read by `zsmtp.daemon.config`."""

from __future__ import annotations

from zsmtp.daemon import config
from zsmtp.errors import ConfigError
from zsmtp.spool.layout import shown

__all__ = ["load"]

_LARGEST_FILE = 1 << 20


def load(path: str) -> config.Configuration:
    """Read a configuration file.  Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_LARGEST_FILE)
    except OSError as error:
        raise ConfigError(
            f"{shown(path)} cannot be read ({error.strerror}); name a file that this user may read"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{shown(path)} is no text in UTF-8 ({error}); see https://toml.io for its form"
        ) from error
    return config.read(text, path)
