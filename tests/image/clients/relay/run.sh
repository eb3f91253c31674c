docker run -d --name relay --network mail --network-alias relay.example.com --env-file settings.env \
  -e RELAYHOST='[smtp.example.com]:25' -v relay-spool:/var/spool/postfix -v relay-data:/var/lib/postern postern
