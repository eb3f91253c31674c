"""Everything that knows Postfix's programs, tables and directories."""
