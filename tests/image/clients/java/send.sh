java -cp "/usr/share/java/jakarta-mail.jar:/usr/share/java/jakarta-activation.jar:." Mail bob@example.org
