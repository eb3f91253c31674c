# Port 587:
set -- --port 587 --tls
# Port 465 instead:
#set -- --port 465 --tls-on-connect

swaks --server relay.example.com "$@" --tls-verify --tls-ca-path /etc/relay/ca.pem \
  --auth PLAIN --auth-user app@example.com --auth-password change-me \
  --from app@example.com --to bob@example.org
