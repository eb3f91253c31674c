"""Django's e-mail over TLS with a CA of one's own, for which Django has no setting.

The variable SSL_CERT_FILE would do it, too, but takes the public CAs from everything else in the process.
"""

import ssl

from django.conf import settings
from django.core.mail.backends.smtp import EmailBackend
from django.utils.functional import cached_property


class RelayBackend(EmailBackend):
    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=settings.EMAIL_CA_FILE)
