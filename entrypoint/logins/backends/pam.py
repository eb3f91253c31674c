"""Logins are checked by PAM, under a service name whose file /etc/pam.d/NAME the user has mounted.

Its modules run in this process: not as root, and without a way to become root. What needs root does not work, above
all pam_unix, which then takes every password for wrong. What asks a server or reads a file that everybody, or the
group of this process, may read does: pam_pwdfile, pam_ldap, pam_sss, pam_mysql, pam_listfile, pam_time and the like.
"""

from __future__ import annotations

import os

import pam

from entrypoint.logins.backends import RefusedError, UnavailableError

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from entrypoint.logins.backends import Options

# pathlib would add 0.9 MB.
# ruff: noqa: PTH113

# As Linux-PAM looks for a service's file; without one it asks the service "other", which is not what was meant.
_DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d")
# The answers about the login: wrong password, no such login, not allowed, expired, tried too often. Any other is about
# the way to find out (pam(3)).
_REFUSALS = (
    pam.PAM_AUTH_ERR,
    pam.PAM_USER_UNKNOWN,
    pam.PAM_PERM_DENIED,
    pam.PAM_MAXTRIES,
    pam.PAM_ACCT_EXPIRED,
    pam.PAM_NEW_AUTHTOK_REQD,
    pam.PAM_AUTHTOK_EXPIRED,
    pam.PAM_CRED_EXPIRED,
)


class Backend:
    # A module that refuses often waits two seconds before it says so.
    concurrency = 16

    def __init__(self, options: Options) -> None:
        self._service: str = options["service"]
        # An authenticator has room for one conversation, and making one runs ldconfig.
        self._idle: list[pam.PamAuthenticator] = []

    def check(self, login: str, password: str) -> None:
        """As PasswordBackend.check. An account that is expired or locked is refused, too."""
        if not password or "\0" in login + password:
            raise RefusedError
        self.ping()
        try:
            authenticator = self._idle.pop()
        except IndexError:
            authenticator = pam.PamAuthenticator()
        # Credentials are what a session would have, and there is none.
        authenticator.authenticate(login, password, self._service, resetcreds=False)
        code, reason = authenticator.code, authenticator.reason
        # It would keep what modules write for ever.
        authenticator.messages.clear()
        self._idle.append(authenticator)
        if code in _REFUSALS:
            raise RefusedError
        if code != pam.PAM_SUCCESS:
            raise UnavailableError(f"PAM service {self._service}: {reason} ({code})")

    def ping(self) -> None:
        """As PasswordBackend.ping. PAM answers nothing but logins: this is whether the service exists."""
        if not any(os.path.isfile(f"{directory}/{self._service}") for directory in _DIRECTORIES):
            raise UnavailableError(
                f"there is no /etc/pam.d/{self._service}: mount the file that SASL_PAM_SERVICE names"
            )
