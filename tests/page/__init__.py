"""A relay's day as the page would be told of it: for tests of the page, and for its picture in the README."""
