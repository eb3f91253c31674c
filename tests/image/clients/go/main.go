// usage: mail RECIPIENT, with the settings of application.env in the environment
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/smtp"
	"os"
	"time"
)

func main() {
	from, to := os.Getenv("SMTP_USER"), os.Args[1]
	text := fmt.Sprintf("From: %s\r\nTo: %s\r\nDate: %s\r\nSubject: Backup\r\n\r\nThe backup is done.\r\n",
		from, to, time.Now().Format(time.RFC1123Z))
	if err := send(from, to, []byte(text)); err != nil {
		log.Fatal(err)
	}
}

// smtp.SendMail would do on port 587, where the machine itself trusts the relay's certificate.
func send(from, to string, text []byte) error {
	session, err := connect(os.Getenv("SMTP_HOST"), os.Getenv("SMTP_PORT"), os.Getenv("SMTP_CA_FILE"))
	if err != nil {
		return err
	}
	defer session.Close()
	login := smtp.PlainAuth("", os.Getenv("SMTP_USER"), os.Getenv("SMTP_PASSWORD"), os.Getenv("SMTP_HOST"))
	if err := session.Auth(login); err != nil {
		return err
	}
	if err := session.Mail(from); err != nil {
		return err
	}
	if err := session.Rcpt(to); err != nil {
		return err
	}
	body, err := session.Data()
	if err != nil {
		return err
	}
	if _, err := body.Write(text); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	return session.Quit()
}

func connect(host, port, caFile string) (*smtp.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	trusted := &tls.Config{ServerName: host, RootCAs: x509.NewCertPool()}
	trusted.RootCAs.AppendCertsFromPEM(pem)

	line, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 30*time.Second)
	if err != nil {
		return nil, err
	}
	if port == "465" {
		line = tls.Client(line, trusted)
	}
	session, err := smtp.NewClient(line, host)
	if err == nil && port != "465" {
		err = session.StartTLS(trusted)
	}
	return session, err
}
