CREATE DATABASE mail;
CREATE USER relay IDENTIFIED BY 'of the service';
USE mail;
SOURCE /srv/users.sql
GRANT SELECT ON mail.users TO relay;
GRANT SELECT ON mail.sender_logins TO relay;
GRANT SELECT ON mail.twins TO relay;
