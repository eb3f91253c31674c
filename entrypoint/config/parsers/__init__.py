"""One parser a type: text as the user wrote it in, a value out, ValueError("must be ...") when it breaks the rule.

The message becomes the second half of an error line, so each names the rule and, where it helps, an example.
"""
