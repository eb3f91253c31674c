import jakarta.mail.Message;
import jakarta.mail.Session;
import jakarta.mail.Transport;
import jakarta.mail.internet.InternetAddress;
import jakarta.mail.internet.MimeMessage;
import java.io.FileInputStream;
import java.io.InputStream;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.Properties;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;

/** usage: java Mail RECIPIENT, with the settings of application.env in the environment */
public class Mail {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        String port = System.getenv("SMTP_PORT");
        settings.put("mail.smtp.host", System.getenv("SMTP_HOST"));
        settings.put("mail.smtp.port", port);
        if (port.equals("465")) {
            settings.put("mail.smtp.ssl.enable", "true");
        } else {
            settings.put("mail.smtp.starttls.enable", "true");
            settings.put("mail.smtp.starttls.required", "true");
        }
        settings.put("mail.smtp.ssl.checkserveridentity", "true");
        settings.put("mail.smtp.ssl.socketFactory", trusting(System.getenv("SMTP_CA_FILE")));
        settings.put("mail.smtp.auth", "true");
        settings.put("mail.smtp.connectiontimeout", "30000");
        settings.put("mail.smtp.timeout", "30000");

        String user = System.getenv("SMTP_USER");
        MimeMessage message = new MimeMessage(Session.getInstance(settings));
        message.setFrom(new InternetAddress(user));
        message.setRecipient(Message.RecipientType.TO, new InternetAddress(arguments[0]));
        message.setSubject("Backup");
        message.setText("The backup is done.\n");
        Transport.send(message, user, System.getenv("SMTP_PASSWORD"));
    }

    /** Only the certificates in this file, instead of those that Java comes with. */
    static SSLSocketFactory trusting(String file) throws Exception {
        KeyStore known = KeyStore.getInstance(KeyStore.getDefaultType());
        known.load(null, null);
        try (InputStream in = new FileInputStream(file)) {
            for (Certificate each : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
                known.setCertificateEntry("relay-" + known.size(), each);
            }
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(known);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context.getSocketFactory();
    }
}
