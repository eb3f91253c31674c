"""The page on the health port: made anew for each look, by a program that ends."""
