cp /etc/relay/ca.pem /usr/local/share/ca-certificates/relay.crt
update-ca-certificates
