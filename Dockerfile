# What lets Postfix run where nobody is root; the compiler stays in this stage.
FROM debian:trixie-slim AS nonroot
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY nonroot/nonroot.c /
RUN gcc -O2 -Wall -Wextra -Werror -shared -fPIC -s -Wl,-z,now,--build-id=none -o /nonroot.so /nonroot.c

# One vendor for all security fixes: nothing but Debian's packages, no compiler, no second package manager.
FROM debian:trixie-slim

# Two builds of one commit give the same files, dates included: at its end each step sets the dates of what it made.
COPY scripts/settle /usr/lib/postern/settle

RUN began=$(date +%s) && export DEBIAN_FRONTEND=noninteractive \
 # The numbers are part of the image's promise: a spool written by one version belongs to the next one too. They are
 # made before the packages, which would otherwise take whatever is free. With this no day is noted in /etc/shadow.
 && export SOURCE_DATE_EPOCH=0 \
 && groupadd -g 101 postfix && groupadd -g 102 postdrop && groupadd -g 103 postern \
 && groupadd -g 104 logins \
 && useradd -u 100 -g 101 -d /var/spool/postfix -M -s /usr/sbin/nologin postfix \
 && useradd -u 103 -g 103 -d /nonexistent -M -s /usr/sbin/nologin postern \
 && useradd -u 104 -g 104 -d /nonexistent -M -s /usr/sbin/nologin logins \
 && unset SOURCE_DATE_EPOCH \
 # Nobody becomes root here by running su, mount, passwd or the like. Said to dpkg, or an update would undo it.
 && find / -xdev -type f -perm /6000 -exec dpkg-statoverride --update --add root root 0755 {} \; \
 # The base may be months old, its packages too. Documentation and other languages stay out, also from a base that
 # is not slim.
 && printf 'path-exclude /usr/share/%s/*\n' doc man locale info lintian > /etc/dpkg/dpkg.cfg.d/no-documentation \
 && printf 'path-include /usr/share/doc/*/copyright\n' >> /etc/dpkg/dpkg.cfg.d/no-documentation \
 && apt-get update \
 && apt-get dist-upgrade -y \
 && apt-get install -y --no-install-recommends \
      ca-certificates libsasl2-modules libsasl2-modules-db postfix postfix-lmdb python3-dnspython python3-envparse \
      python3-jinja2 python3-ldap python3-lmdb python3-pampy python3-prometheus-client python3-psycopg2 python3-pymysql \
      supervisor tzdata \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/cache/ldconfig/* /var/log/* /etc/*- \
      /etc/aliases* /etc/postfix/main.cf* /etc/postfix/master.cf* /etc/supervisor/supervisord.conf \
      # The second has keys for the tests of python3-ldap.
      /usr/lib/python3*/ensurepip /usr/lib/python3/dist-packages/slapdtest \
 # Postfix's package has asked this machine for its name.
 && sed -i "s/\b$(uname -n)\b/localhost/g" /var/cache/debconf/config.dat \
 && find / -xdev \( -path '/usr/share/doc/*' -o -path '/usr/share/man/*' -o -path '/usr/share/locale/*' \) \
      -type f ! -name copyright -delete \
 && /usr/lib/postern/settle "$began"

COPY rootfs /
COPY entrypoint /usr/lib/postern/entrypoint
COPY scripts/sbom /usr/lib/postern/sbom
COPY --from=nonroot /nonroot.so /usr/lib/postern/nonroot.so

# What a template becomes is a link into the one place that is written at start.
RUN began=$(date +%s) \
 && find /etc -name '*.j2' -exec sh -c 'ln -s "/run/postern${1%.j2}" "${1%.j2}"' - {} \; \
 # What this Postfix knows. Parameters derived from our own master.cf (smtp_destination_...) are among them.
 && postern render /tmp/rendered && mkdir /usr/lib/postern/vocabulary \
 # Four defaults are this machine's and this moment's.
 && postconf -c /tmp/rendered/etc/postfix -d > /usr/lib/postern/vocabulary/parameters \
 && sed -Ei 's/^(myhostname|mydomain|mynetworks|process_id) =.*/\1 =/' /usr/lib/postern/vocabulary/parameters \
 && postconf -c /tmp/rendered/etc/postfix -m > /usr/lib/postern/vocabulary/tables \
 && ls /usr/lib/postfix/sbin > /usr/lib/postern/vocabulary/programs && rm -r /tmp/rendered \
 && python3 -ISBc 'import sys; sys.path += ["/usr/lib/postern", "/usr/lib/python3/dist-packages"]; from entrypoint.page import show; show.prepare()' \
 # Valid whenever the checkout was made: without the source's date, and without a look at it.
 && python3 -m compileall -qf --invalidation-mode unchecked-hash /usr/lib/postern \
 && mkdir -p /var/lib/postern/postfix /docker-entrypoint.d /run/postern \
 && chown postfix: /var/lib/postern/postfix && chmod 700 /var/lib/postern/postfix \
 && python3 -IS -c 'import sys; sys.path += ["/usr/lib/postern"]; from entrypoint.postfix import spool; spool.prepare()' \
 # Whatever the umask and the day of the checkout: the health server, who is not root, runs from these files.
 && ours="/usr/lib/postern /usr/bin/postern /etc/postfix /etc/postern /etc/supervisor" \
 && chmod -R u=rwX,go=rX $ours && chmod 755 / /etc /usr /usr/bin /usr/lib \
 # For whoever `--user` names. A start as root closes them first thing (entrypoint/postfix/spool.py, config/install.py).
 && chmod 777 /run/postern /var/lib/postern /var/spool/postfix && chmod 1777 /run \
 && /usr/lib/postern/settle "$began" $ours

# Last, as they change with each commit and what is above does not.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
# The commit's date: the bill of materials bears it.
ARG SOURCE_DATE_EPOCH=0
RUN began=$(date +%s) \
 && printf '%s\n' "${VERSION}" "${REVISION}" > /usr/lib/postern/build \
 && mkdir /usr/share/postern && /usr/lib/postern/sbom > /usr/share/postern/sbom.spdx.json \
 && /usr/lib/postern/settle "$began"
LABEL org.opencontainers.image.title="Postern" \
      org.opencontainers.image.description="A mail relay in a container: environment variables in, delivered mail out" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="debian:trixie-slim" \
      org.postern.sbom="/usr/share/postern/sbom.spdx.json"

VOLUME ["/var/spool/postfix", "/var/lib/postern"]
EXPOSE 25 465 587 9154
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=10s --start-period=15s --retries=3 CMD ["postern", "health"]
ENTRYPOINT ["postern"]
CMD ["run"]
