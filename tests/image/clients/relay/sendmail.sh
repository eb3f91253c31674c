printf 'From: app@example.com\nTo: bob@example.org\nSubject: Backup\n\nThe backup is done.\n' |
  docker exec -i relay sendmail -t -f app@example.com
