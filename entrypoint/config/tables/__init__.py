"""Tables that users write: one entry a line, in a file below /config or in a variable. Text in, typed entries out."""
