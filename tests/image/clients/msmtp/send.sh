printf 'Subject: Backup\n\nThe backup is done.\n' | msmtp bob@example.org
