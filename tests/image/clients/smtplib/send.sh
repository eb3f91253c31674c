python3 send.py bob@example.org
