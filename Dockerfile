# One vendor for all security fixes: nothing but Debian's packages, no compiler, no second package manager.
FROM debian:trixie-slim

# The numbers are part of the image's promise: a spool written by one version belongs to the next one too. They are
# made before the packages, which would otherwise take whatever is free.
RUN groupadd -g 101 postfix && groupadd -g 102 postdrop && groupadd -g 103 postern \
 && useradd -u 100 -g 101 -d /var/spool/postfix -M -s /usr/sbin/nologin postfix \
 && useradd -u 103 -g 103 -d /nonexistent -M -s /usr/sbin/nologin postern

# The base may be months old, its packages too. Documentation and other languages stay out, also from a base that
# is not slim.
RUN printf 'path-exclude /usr/share/%s/*\n' doc man locale info lintian > /etc/dpkg/dpkg.cfg.d/no-documentation \
 && printf 'path-include /usr/share/doc/*/copyright\n' >> /etc/dpkg/dpkg.cfg.d/no-documentation \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get dist-upgrade -y \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      ca-certificates libsasl2-modules postfix postfix-lmdb python3-dnspython python3-envparse python3-jinja2 \
      python3-lmdb supervisor tzdata \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/* /etc/postfix/main.cf* /etc/postfix/master.cf* \
      /etc/supervisor/supervisord.conf /usr/lib/python3*/ensurepip \
 && find / -xdev \( -path '/usr/share/doc/*' -o -path '/usr/share/man/*' -o -path '/usr/share/locale/*' \) \
      -type f ! -name copyright -delete

COPY rootfs /
COPY entrypoint /usr/lib/postern/entrypoint

# What a template becomes is a link into the one place that is written at start.
RUN find /etc -name '*.j2' -exec sh -c 'ln -s "/run/postern${1%.j2}" "${1%.j2}"' - {} \; \
 # What this Postfix knows. Parameters derived from our own master.cf (smtp_destination_...) are among them.
 && postern render /tmp/rendered && mkdir /usr/lib/postern/vocabulary \
 && postconf -c /tmp/rendered/etc/postfix -d > /usr/lib/postern/vocabulary/parameters \
 && postconf -c /tmp/rendered/etc/postfix -m > /usr/lib/postern/vocabulary/tables \
 && ls /usr/lib/postfix/sbin > /usr/lib/postern/vocabulary/programs && rm -r /tmp/rendered \
 # Whatever the umask of the checkout: the health server, who is not root, runs from these files.
 && chmod -R a+rX,go-w /usr/lib/postern /usr/bin/postern /etc/postfix /etc/postern /etc/supervisor \
 && python3 -m compileall -q /usr/lib/postern \
 && mkdir -p /var/lib/postern/postfix /docker-entrypoint.d /run/postern \
 && chown postfix: /var/lib/postern/postfix && chmod 700 /var/lib/postern/postfix \
 && python3 -IS -c 'import sys; sys.path += ["/usr/lib/postern"]; from entrypoint.postfix import spool; spool.prepare()'

# Last, as they change with each commit and what is above does not.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Postern" \
      org.opencontainers.image.description="A mail relay in a container: environment variables in, delivered mail out" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="debian:trixie-slim"

VOLUME ["/var/spool/postfix", "/var/lib/postern"]
EXPOSE 25 587 9154
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=10s --start-period=15s --retries=3 CMD ["postern", "health"]
ENTRYPOINT ["postern"]
CMD ["run"]
