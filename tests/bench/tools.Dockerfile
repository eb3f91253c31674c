# The station beside the relays under test: Postfix's own load generator and sink, and a Python to run them by.
# hadolint ignore=DL3006  # made from the file beside this one, never pulled
FROM postern-bench-bare

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openssl python3 \
 && apt-get clean && rm -rf /var/lib/apt/lists/*

COPY station /opt/station
ENV PYTHONPATH=/opt PYTHONDONTWRITEBYTECODE=1
CMD ["python3", "-m", "station.agent"]
