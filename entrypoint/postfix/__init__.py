"""Everything that knows Postfix's programs, tables and directories."""

SPOOL = "/var/spool/postfix"
"""queue_directory of postconf(5)."""
