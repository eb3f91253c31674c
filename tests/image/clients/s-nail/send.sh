echo 'The backup is done.' | s-nail -s Backup bob@example.org
