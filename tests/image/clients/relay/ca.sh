docker cp relay:/var/lib/postern/tls/ca.pem .
