"""The benchmark: Postern beside a bare Postfix, both up, in turn, in one run."""
