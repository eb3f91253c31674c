"""The image from outside: real containers, real mail, and what the far side received or the wrong client was told."""
