/* Lets Postfix run as one ordinary user, who has no right to become another (entrypoint/nonroot.py preloads it).
 *
 * Postfix starts as root, gives that up program by program, and refuses to start otherwise. Here every program believes
 * that it was started by root, and that what it asks for was granted; the kernel is not asked, and nothing is gained:
 * each has the rights of the one user, before and after. What is lost is Postfix's second wall: its programs are not
 * separated from each other.
 *
 * There is one owner of all files, which is that user, whatever his number: to Postfix he is mail_owner.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char mail_owner[] = "postfix"; /* main.cf.j2 */
static const char log_socket[] = "/run/postern/log"; /* entrypoint/nonroot.py */

static int root = 1, effective_root = 1;

/* As whom the kernel started the program: nobody here becomes another. A system call by its number would have 16 bits for
 * it on some processors, and OpenShift's users need 30. */
static uid_t real_uid(void) { return (uid_t)getauxval(AT_UID); }

uid_t getuid(void) { return root ? 0 : real_uid(); }

uid_t geteuid(void) { return effective_root ? 0 : real_uid(); }

int setuid(uid_t uid)
{
    root = effective_root = uid == 0;
    return 0;
}

int seteuid(uid_t uid)
{
    effective_root = uid == 0;
    return 0;
}

int setgid(gid_t gid) { (void)gid; return 0; }

int setegid(gid_t gid) { (void)gid; return 0; }

int setgroups(size_t count, const gid_t *groups) { (void)count; (void)groups; return 0; }

int initgroups(const char *user, gid_t gid) { (void)user; (void)gid; return 0; }

int chown(const char *path, uid_t uid, gid_t gid) { (void)path; (void)uid; (void)gid; return 0; }

int fchown(int file, uid_t uid, gid_t gid) { (void)file; (void)uid; (void)gid; return 0; }

/* getpwnam(3): under one name and one number there is one user, as Postfix insists. */

static struct passwd *owned(struct passwd *found)
{
    if (found && strcmp(found->pw_name, mail_owner) == 0)
        found->pw_uid = real_uid();
    return found;
}

struct passwd *getpwnam(const char *name)
{
    struct passwd *(*next)(const char *) = (struct passwd *(*)(const char *))dlsym(RTLD_NEXT, "getpwnam");

    return owned(next(name));
}

int getpwnam_r(const char *name, struct passwd *entry, char *text, size_t size, struct passwd **found)
{
    int (*next)(const char *, struct passwd *, char *, size_t, struct passwd **) =
        (int (*)(const char *, struct passwd *, char *, size_t, struct passwd **))dlsym(RTLD_NEXT, "getpwnam_r");
    int status = next(name, entry, text, size, found);

    if (status == 0)
        owned(*found);
    return status;
}

struct passwd *getpwuid(uid_t uid)
{
    struct passwd *(*next)(uid_t) = (struct passwd *(*)(uid_t))dlsym(RTLD_NEXT, "getpwuid");

    return uid == real_uid() ? getpwnam(mail_owner) : next(uid);
}

int getpwuid_r(uid_t uid, struct passwd *entry, char *text, size_t size, struct passwd **found)
{
    int (*next)(uid_t, struct passwd *, char *, size_t, struct passwd **) =
        (int (*)(uid_t, struct passwd *, char *, size_t, struct passwd **))dlsym(RTLD_NEXT, "getpwuid_r");

    if (uid == real_uid())
        return getpwnam_r(mail_owner, entry, text, size, found);
    return next(uid, entry, text, size, found);
}

/* syslog(3): only root can make /dev/log. What Postfix says there is why it cannot start, and nowhere else. */

static char program[64];

void openlog(const char *name, int option, int facility)
{
    (void)option;
    (void)facility;
    snprintf(program, sizeof program, "%s", name ? name : "");
}

void vsyslog(int priority, const char *format, va_list arguments)
{
    char text[2048];
    struct sockaddr_un reader = {.sun_family = AF_UNIX};
    int length = snprintf(text, sizeof text, "<%d>%s[%d]: ", priority, program, (int)getpid());
    int to = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (to < 0)
        return;
    vsnprintf(text + length, sizeof text - (size_t)length, format, arguments);
    memcpy(reader.sun_path, log_socket, sizeof log_socket);
    (void)sendto(to, text, strlen(text), 0, (struct sockaddr *)&reader, sizeof reader);
    close(to);
}

void syslog(int priority, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsyslog(priority, format, arguments);
    va_end(arguments);
}

/* The same, as programs call them that were compiled with _FORTIFY_SOURCE. */

void __vsyslog_chk(int priority, int flag, const char *format, va_list arguments)
{
    (void)flag;
    vsyslog(priority, format, arguments);
}

void __syslog_chk(int priority, int flag, const char *format, ...)
{
    va_list arguments;

    (void)flag;
    va_start(arguments, format);
    vsyslog(priority, format, arguments);
    va_end(arguments);
}
