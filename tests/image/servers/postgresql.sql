CREATE ROLE relay LOGIN PASSWORD 'of the service';
CREATE DATABASE mail;
\connect mail
\include /srv/users.sql
GRANT SELECT ON users, sender_logins, twins TO relay;
