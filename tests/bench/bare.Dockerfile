# The yardstick: Debian's Postfix as the package leaves it, and the six settings a relay cannot do without.
# Everything else is Debian's default, so what Postern gains or costs against it is Postern's own doing.
FROM debian:trixie-slim

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postfix \
 && apt-get clean && rm -rf /var/lib/apt/lists/*

# Written when the image is built: Postfix waits two seconds at start for a main.cf that is fresh, and the
# yardstick must not pay for that. The private ranges cover whatever subnet the engine gives the bench.
RUN postconf -e \
      'myhostname = bare.bench.test' \
      'mydestination =' \
      'mynetworks = 127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16' \
      'relayhost = [sink]:25' \
      'inet_interfaces = all' \
      'maillog_file = /dev/stdout'

EXPOSE 25
CMD ["postfix", "start-fg"]
