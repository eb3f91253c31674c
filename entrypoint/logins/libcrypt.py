"""crypt(3): Python itself no longer has it."""

from __future__ import annotations

import ctypes

_crypt = ctypes.CDLL("libcrypt.so.1")
_crypt.crypt_rn.restype = ctypes.c_char_p
_crypt.crypt_gensalt_rn.restype = ctypes.c_char_p
# crypt.h: struct crypt_data.
_SCRATCH = 32768
_LONGEST_SETTING = 192


def hashed(password: bytes, setting: bytes) -> bytes | None:
    """The hash of a password, in the way of a hash or setting (crypt(5)); None where there cannot be one.

    That is: the password is too long (512) or holds a NUL, or the setting is none that libcrypt knows. Takes long on
    purpose, in which time other threads run.
    """
    if b"\0" in password:
        return None
    scratch = ctypes.create_string_buffer(_SCRATCH)
    try:
        result: bytes | None = _crypt.crypt_rn(password, setting, scratch, _SCRATCH)
    finally:
        ctypes.memset(scratch, 0, _SCRATCH)
    return result


def setting() -> bytes:
    """For a new hash: yescrypt, as strong as libcrypt thinks right, with salt of the system's. Raises OSError."""
    made = ctypes.create_string_buffer(_LONGEST_SETTING)
    result: bytes | None = _crypt.crypt_gensalt_rn(b"$y$", 0, None, 0, made, _LONGEST_SETTING)
    if not result:
        raise OSError("libcrypt cannot make a setting for yescrypt")
    return result
