-- The tables that the default queries ask. John's password is PASSWORD of tests/image/backends.py, the others' is
-- "another password": SHA-512, yescrypt and bcrypt.
CREATE TABLE users (login VARCHAR(100) PRIMARY KEY, password VARCHAR(200));
INSERT INTO users VALUES
  ('john@example.com', '$6$postern.tests.1$XGW5sCnCRgCrzrPxuwswij9ama6/pF6sVDD89XbgIg7JIk2Iby/EpajPfTfmFroDOahv6sW8JIXQpnjek2gSx/'),
  ('mary@example.com', '$y$j75$kxqQoJaQiFLNnFrQkxqQoJaQi30$YBwt9Nj3TRoaoBYVKgzyFwGqKjMCAhqBVZr/8Pyq575'),
  ('admin', '{BLF-CRYPT}$2b$04$aE7xbETwZlPja1PxaE7xb.wxSVickMKvyA0FwMIX21at7XphgBFre'),
  ('plaintext', 'another password'),
  ('locked', NULL);
CREATE TABLE sender_logins (address VARCHAR(100), login VARCHAR(100));
INSERT INTO sender_logins VALUES
  ('john@example.com', 'john@example.com'),
  ('sales@example.com', 'john@example.com'),
  ('sales@example.com', 'mary@example.com'),
  ('@example.net', 'mary@example.com'),
  ('*', 'admin');
-- Two rows for one login, and a table that the relay may not read.
CREATE TABLE twins (login VARCHAR(100), password VARCHAR(200));
INSERT INTO twins SELECT 'john@example.com', password FROM users WHERE login IN ('john@example.com', 'mary@example.com');
CREATE TABLE secrets (login VARCHAR(100), password VARCHAR(200));
