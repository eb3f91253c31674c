printf 'To: bob@example.org\nSubject: Backup\n\nThe backup is done.\n' | sendmail -t
