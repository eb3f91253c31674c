./mail bob@example.org
