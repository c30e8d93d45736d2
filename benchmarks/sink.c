/* A cheap SMTP and LMTP sink: the server of the benchmarks.
 *
 * One thread, one epoll loop, one read and one write per turn of a pipelined dialogue; it must never be the limit
 * of what is measured.  Takes everything, keeps nothing but counters and, where asked, one line per message and
 * recipient: the value of the X-Token header field, the octets on the wire, the recipient.  Input may be split
 * anywhere.  It is no mail server: addresses and parameters are not checked, only the order of commands is.
 *
 * Usage: sink --listen 127.0.0.1:PORT | --listen unix:PATH   (PORT 0: any; the first line of output tells it)
 *             [--lmtp] [--announce PIPELINING,CHUNKING,8BITMIME,SIZE] [--delay MS] [--final-delay MS]
 *             [--record FILE]
 * SIGUSR1 prints the counters as one line of JSON, SIGTERM and SIGINT print them and end it.
 *
 * Sources: RFC 5321 section 4.1, RFC 2033, RFC 2920, RFC 3030.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_SIZE = 256 * 1024,  /* of the one read buffer, shared by all connections */
    LINE_LIMIT = 4096,       /* of a command line; a longer one ends the connection */
    HEAD_LIMIT = 4096,       /* octets of a message that are searched for the token */
    WRITE_LIMIT = 1 << 20,   /* of unsent replies; a client that lets more pile up is cut off */
    RECIPIENT_LIMIT = 100000
};

enum state { COMMANDS, DATA_START, DATA, CHUNK };

struct segment {  /* replies that may leave at `due` */
    uint64_t due;
    size_t end;  /* position in `out` behind the last octet */
};

struct connection {
    int fd;
    enum state state;
    bool greeted, mail, in_message, swallow, closing, polling_out;
    unsigned serial;
    char *kept;  /* octets that could not be used yet: part of a line, or of a final dot */
    size_t kept_size, kept_room;
    char head[HEAD_LIMIT];
    size_t head_size;
    uint64_t octets;      /* of this message so far, as on the wire */
    uint64_t chunk_left;  /* of the BDAT chunk that is being read */
    bool chunk_last;
    char *recipients;  /* addresses, each ended by NUL */
    size_t recipients_size, recipients_room;
    unsigned recipient_count;
    char *out;
    size_t out_start, out_size, out_room;
    struct segment *segments;
    size_t segment_start, segment_count, segment_room;
};

static struct connection **by_fd;
static int by_fd_room;
static int poller;
static bool lmtp;
static bool say_pipelining, say_chunking, say_8bitmime, say_size;
static uint64_t delay_ns, final_delay_ns;
static FILE *record;
static unsigned waiting;  /* connections with replies that wait for their time */
static struct {
    unsigned long connections, messages, recipients, octets, commands, reads, writes, chunks, errors, lost;
} count;

static void die(const char *what)
{
    fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *grown(void *old, size_t *room, size_t wanted, size_t unit)
{
    if (wanted <= *room)
        return old;
    size_t room_now = *room ? *room : 64;
    while (room_now < wanted)
        room_now *= 2;
    void *memory = realloc(old, room_now * unit);
    if (memory == NULL)
        die("memory");
    *room = room_now;
    return memory;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- replies ---- */

static void put(struct connection *c, uint64_t delay, const char *text, size_t size)
{
    c->out = grown(c->out, &c->out_room, c->out_size + size, 1);
    memcpy(c->out + c->out_size, text, size);
    c->out_size += size;
    uint64_t due = delay ? now_ns() + delay : 0;
    if (c->segment_count > 0) {
        struct segment *last = &c->segments[c->segment_start + c->segment_count - 1];
        if (last->due >= due) {  /* replies never overtake each other */
            last->end = c->out_size;
            return;
        }
    }
    c->segments = grown(c->segments, &c->segment_room, c->segment_start + c->segment_count + 1, sizeof(struct segment));
    c->segments[c->segment_start + c->segment_count] = (struct segment){due, c->out_size};
    if (c->segment_count++ == 0)
        waiting++;
}

static void say(struct connection *c, const char *text)
{
    if (text[0] == '5')
        count.errors++;
    put(c, delay_ns, text, strlen(text));
}

static void say_final(struct connection *c, const char *text)
{
    put(c, delay_ns + final_delay_ns, text, strlen(text));
}

static void poll_for(struct connection *c, bool output)
{
    if (c->polling_out == output)
        return;
    struct epoll_event e = {.events = output ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.fd = c->fd};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e) < 0)
        die("epoll_ctl");
    c->polling_out = output;
}

static void end_connection(struct connection *c)
{
    if (c->in_message || c->state != COMMANDS)
        count.lost++;
    if (c->segment_count > 0)
        waiting--;
    by_fd[c->fd] = NULL;
    close(c->fd);
    free(c->kept);
    free(c->recipients);
    free(c->out);
    free(c->segments);
    free(c);
}

/* Send what is due.  False: the connection is gone. */
static bool flush(struct connection *c)
{
    while (c->segment_count > 0) {
        struct segment *first = &c->segments[c->segment_start];
        if (first->due > 0 && first->due > now_ns())
            break;
        ssize_t sent = send(c->fd, c->out + c->out_start, first->end - c->out_start, MSG_NOSIGNAL);
        count.writes++;
        if (sent < 0) {
            if (errno == EAGAIN || errno == EINTR) {
                poll_for(c, true);
                if (c->out_size - c->out_start > WRITE_LIMIT) {
                    end_connection(c);
                    return false;
                }
                return true;
            }
            end_connection(c);
            return false;
        }
        c->out_start += (size_t)sent;
        if (c->out_start < first->end)
            continue;
        c->segment_start++;
        if (--c->segment_count == 0)
            waiting--;
    }
    poll_for(c, false);
    if (c->segment_count == 0) {
        c->out_start = c->out_size = c->segment_start = 0;
        if (c->closing) {
            end_connection(c);
            return false;
        }
    } else if (c->segment_start > 1024) {
        /* a busy delayed connection never runs empty: move the rest to the front */
        memmove(c->segments, c->segments + c->segment_start, c->segment_count * sizeof(struct segment));
        memmove(c->out, c->out + c->out_start, c->out_size - c->out_start);
        for (size_t i = 0; i < c->segment_count; i++)
            c->segments[i].end -= c->out_start;
        c->out_size -= c->out_start;
        c->out_start = c->segment_start = 0;
    }
    return true;
}

/* ---- messages ---- */

static void reset(struct connection *c)
{
    c->mail = c->in_message = false;
    c->recipients_size = c->recipient_count = 0;
    c->head_size = 0;
    c->octets = 0;
    c->state = COMMANDS;
}

static void content(struct connection *c, const char *data, size_t size)
{
    c->octets += size;
    if (record != NULL && c->head_size < HEAD_LIMIT) {
        size_t n = HEAD_LIMIT - c->head_size;
        if (n > size)
            n = size;
        memcpy(c->head + c->head_size, data, n);
        c->head_size += n;
    }
}

static void write_record(struct connection *c)
{
    const char *token = "-";
    size_t token_size = 1;
    static const char field[] = "X-Token:";
    const char *p = c->head, *end = c->head + c->head_size;
    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        if (line_end == NULL || line_end - p <= 1)
            break;
        if ((size_t)(line_end - p) > sizeof field - 1 && strncasecmp(p, field, sizeof field - 1) == 0) {
            token = p + sizeof field - 1;
            while (token < line_end && (*token == ' ' || *token == '\t'))
                token++;
            token_size = (size_t)(line_end - token);
            while (token_size > 0 && (token[token_size - 1] == '\r' || token[token_size - 1] == ' '))
                token_size--;
            break;
        }
        p = line_end + 1;
    }
    const char *r = c->recipients;
    for (unsigned i = 0; i < c->recipient_count; i++, r += strlen(r) + 1)
        fprintf(record, "%.*s\t%llu\t%s\n", (int)token_size, token, (unsigned long long)c->octets, r);
}

static void message_complete(struct connection *c)
{
    count.messages++;
    count.recipients += c->recipient_count;
    count.octets += c->octets;
    if (record != NULL)
        write_record(c);
    unsigned finals = lmtp ? c->recipient_count : 1;
    reset(c);
    while (finals-- > 0)
        say_final(c, "250 2.0.0 taken\r\n");
}

/* ---- commands ---- */

static bool starts(const char *line, const char *verb)
{
    return strncasecmp(line, verb, strlen(verb)) == 0;
}

static void add_recipient(struct connection *c, const char *line)
{
    const char *open = strchr(line, '<');
    const char *close_ = open ? strrchr(open, '>') : NULL;
    if (close_ == NULL) {
        say(c, "501 5.1.3 no address in angle brackets\r\n");
        return;
    }
    /* parameters may hold a > as well: the address ends at the first one outside quotes */
    bool quoted = false;
    for (const char *p = open + 1; p <= close_; p++) {
        if (*p == '\\' && p[1] != '\0')
            p++;
        else if (*p == '"')
            quoted = !quoted;
        else if (*p == '>' && !quoted) {
            close_ = p;
            break;
        }
    }
    size_t size = (size_t)(close_ - open - 1);
    c->recipients = grown(c->recipients, &c->recipients_room, c->recipients_size + size + 1, 1);
    memcpy(c->recipients + c->recipients_size, open + 1, size);
    c->recipients[c->recipients_size + size] = '\0';
    c->recipients_size += size + 1;
    c->recipient_count++;
    say(c, "250 2.1.5 ok\r\n");
}

static void hello(struct connection *c, bool extended)
{
    char text[256];
    reset(c);
    c->greeted = true;
    if (!extended) {
        say(c, "250 sink.example\r\n");
        return;
    }
    const char *names[5];
    int n = 0;
    if (say_pipelining)
        names[n++] = "PIPELINING";
    if (say_8bitmime)
        names[n++] = "8BITMIME";
    if (say_size)
        names[n++] = "SIZE 0";
    if (say_chunking)
        names[n++] = "CHUNKING";
    names[n++] = "ENHANCEDSTATUSCODES";
    int size = snprintf(text, sizeof text, "250-sink.example\r\n");
    for (int i = 0; i < n; i++)
        size += snprintf(text + size, sizeof text - (size_t)size, "250%c%s\r\n", i == n - 1 ? ' ' : '-', names[i]);
    say(c, text);
}

static void command_data(struct connection *c)
{
    if (!c->mail || c->in_message) {
        say(c, "503 5.5.1 not now\r\n");
    } else if (c->recipient_count == 0) {
        say(c, "554 5.5.1 no valid recipients\r\n");
    } else {
        c->state = DATA_START;
        say(c, "354 go on\r\n");
    }
}

static void chunk_complete(struct connection *c)
{
    c->state = COMMANDS;
    if (c->swallow) {
        say(c, "503 5.5.1 not now\r\n");
        return;
    }
    count.chunks++;
    if (c->chunk_last)
        message_complete(c);
    else
        say(c, "250 2.0.0 chunk taken\r\n");
}

static void command_bdat(struct connection *c, const char *line)
{
    char *end;
    errno = 0;
    unsigned long long size = strtoull(line + 5, &end, 10);
    if (end == line + 5 || errno != 0 || !say_chunking) {
        say(c, say_chunking ? "501 5.5.4 BDAT needs a size\r\n" : "502 5.5.1 not implemented\r\n");
        c->closing = true;  /* nobody can know where the chunk ends */
        return;
    }
    while (*end == ' ')
        end++;
    c->swallow = !c->mail || c->recipient_count == 0;
    c->chunk_last = starts(end, "LAST");
    c->chunk_left = size;
    c->in_message = !c->swallow;
    c->state = CHUNK;
    if (size == 0)
        chunk_complete(c);
}

static void command(struct connection *c, const char *line)
{
    count.commands++;
    if (starts(line, "RCPT TO:")) {
        if (!c->mail || c->in_message)
            say(c, "503 5.5.1 not now\r\n");
        else if (c->recipient_count >= RECIPIENT_LIMIT)
            say(c, "452 4.5.3 too many recipients\r\n");
        else
            add_recipient(c, line + 8);
    } else if (starts(line, "MAIL FROM:")) {
        if (!c->greeted || c->mail) {
            say(c, "503 5.5.1 not now\r\n");
        } else {
            c->mail = true;
            say(c, "250 2.1.0 ok\r\n");
        }
    } else if (strcasecmp(line, "DATA") == 0) {
        command_data(c);
    } else if (starts(line, "BDAT ")) {
        command_bdat(c, line);
    } else if (starts(line, "LHLO ")) {
        if (lmtp)
            hello(c, true);
        else
            say(c, "500 5.5.1 this is SMTP\r\n");
    } else if (starts(line, "EHLO ") || starts(line, "HELO ")) {
        if (lmtp)  /* RFC 2033 section 4.1 */
            say(c, "500 5.5.1 this is LMTP\r\n");
        else
            hello(c, line[0] == 'E' || line[0] == 'e');
    } else if (strcasecmp(line, "RSET") == 0) {
        reset(c);
        say(c, "250 2.0.0 ok\r\n");
    } else if (starts(line, "NOOP")) {
        say(c, "250 2.0.0 ok\r\n");
    } else if (strcasecmp(line, "QUIT") == 0) {
        reset(c);
        say(c, "221 2.0.0 bye\r\n");
        c->closing = true;
    } else {
        say(c, "500 5.5.1 unknown command\r\n");
    }
}

/* ---- input ---- */

/* Use up what can be used of the input in `state` COMMANDS.  How many octets were used. */
static size_t use_line(struct connection *c, char *data, size_t size)
{
    char *end = memchr(data, '\n', size);
    if (end == NULL) {
        if (size > LINE_LIMIT) {
            say(c, "500 5.5.2 line too long\r\n");
            c->closing = true;
        }
        return 0;
    }
    size_t used = (size_t)(end - data) + 1;
    if (end > data && end[-1] == '\r')
        end--;
    *end = '\0';
    command(c, data);
    return used;
}

static size_t use_data(struct connection *c, const char *data, size_t size)
{
    if (c->state == DATA_START) {  /* the line before the first one is the DATA command's */
        if (data[0] == '.') {
            if (size < 3)
                return 0;
            if (data[1] == '\r' && data[2] == '\n') {
                message_complete(c);
                return 3;
            }
        }
        c->state = DATA;
    }
    const char *dot = memmem(data, size, "\r\n.\r\n", 5);
    if (dot != NULL) {
        content(c, data, (size_t)(dot - data) + 2);
        message_complete(c);
        return (size_t)(dot - data) + 5;
    }
    /* the last four octets may be the beginning of the end */
    size_t used = size > 4 ? size - 4 : 0;
    content(c, data, used);
    return used;
}

static size_t use_chunk(struct connection *c, const char *data, size_t size)
{
    size_t used = size < c->chunk_left ? size : (size_t)c->chunk_left;
    if (!c->swallow)
        content(c, data, used);
    c->chunk_left -= used;
    if (c->chunk_left == 0)
        chunk_complete(c);
    return used;
}

static void use(struct connection *c, char *data, size_t size)
{
    size_t at = 0;
    while (at < size && !c->closing) {
        size_t used;
        if (c->state == COMMANDS)
            used = use_line(c, data + at, size - at);
        else if (c->state == CHUNK)
            used = use_chunk(c, data + at, size - at);
        else
            used = use_data(c, data + at, size - at);
        if (used == 0)
            break;
        at += used;
    }
    c->kept_size = c->closing ? 0 : size - at;
    if (c->kept_size > 0) {
        c->kept = grown(c->kept, &c->kept_room, c->kept_size, 1);
        memcpy(c->kept, data + at, c->kept_size);
    }
}

static void readable(struct connection *c)
{
    static char buffer[READ_SIZE + 2 * LINE_LIMIT];
    if (c->kept_size > 0)
        memcpy(buffer, c->kept, c->kept_size);
    ssize_t got = recv(c->fd, buffer + c->kept_size, READ_SIZE, 0);
    count.reads++;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        end_connection(c);
        return;
    }
    if (!c->closing)
        use(c, buffer, c->kept_size + (size_t)got);
    if (c->segment_count > 0 && !c->polling_out)
        flush(c);
}

/* ---- the process ---- */

static void print_counters(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    if (record != NULL)
        fflush(record);
    printf("{\"connections\": %lu, \"messages\": %lu, \"recipients\": %lu, \"octets\": %lu, \"commands\": %lu, "
           "\"chunks\": %lu, \"errors\": %lu, \"lost\": %lu, \"reads\": %lu, \"writes\": %lu, \"cpu\": %.6f}\n",
           count.connections, count.messages, count.recipients, count.octets, count.commands, count.chunks,
           count.errors, count.lost, count.reads, count.writes,
           (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
               ((double)u.ru_utime.tv_usec + (double)u.ru_stime.tv_usec) / 1e6);
    fflush(stdout);
}

static void accept_all(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (fd >= by_fd_room) {
            int room = by_fd_room ? by_fd_room : 64;
            while (room <= fd)
                room *= 2;
            by_fd = realloc(by_fd, (size_t)room * sizeof *by_fd);
            if (by_fd == NULL)
                die("memory");
            memset(by_fd + by_fd_room, 0, (size_t)(room - by_fd_room) * sizeof *by_fd);
            by_fd_room = room;
        }
        int yes = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);  /* fails on a UNIX socket, harmlessly */
        struct connection *c = calloc(1, sizeof *c);
        if (c == NULL)
            die("memory");
        c->fd = fd;
        by_fd[fd] = c;
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) < 0)
            die("epoll_ctl");
        count.connections++;
        say(c, lmtp ? "220 sink.example LMTP\r\n" : "220 sink.example ESMTP\r\n");
        flush(c);
    }
}

/* Send every reply whose time has come.  How many milliseconds until the next one, -1 for none. */
static int flush_due(void)
{
    uint64_t next = UINT64_MAX, now = now_ns();
    if (waiting == 0)
        return -1;
    for (int fd = 0; fd < by_fd_room; fd++) {
        struct connection *c = by_fd[fd];
        if (c == NULL || c->segment_count == 0 || c->polling_out)
            continue;
        if (c->segments[c->segment_start].due <= now && (!flush(c) || c->segment_count == 0 || c->polling_out))
            continue;
        if (c->segments[c->segment_start].due < next)
            next = c->segments[c->segment_start].due;
    }
    if (next == UINT64_MAX)
        return -1;
    now = now_ns();
    return next <= now ? 0 : (int)((next - now + 999999) / 1000000);
}

static int listen_at(const char *where)
{
    int fd;
    if (strncmp(where, "unix:", 5) == 0) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        if (strlen(where + 5) >= sizeof a.sun_path) {
            errno = ENAMETOOLONG;
            die(where);
        }
        strcpy(a.sun_path, where + 5);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 4096) < 0)
            die(where);
        printf("listening %s\n", where);
    } else {
        struct sockaddr_in a = {.sin_family = AF_INET};
        char host[64];
        const char *colon = strrchr(where, ':');
        if (colon == NULL || (size_t)(colon - where) >= sizeof host) {
            errno = EINVAL;
            die(where);
        }
        memcpy(host, where, (size_t)(colon - where));
        host[colon - where] = '\0';
        a.sin_port = htons((uint16_t)atoi(colon + 1));
        if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
            errno = EINVAL;
            die(where);
        }
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int yes = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        socklen_t size = sizeof a;
        if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 4096) < 0 ||
            getsockname(fd, (struct sockaddr *)&a, &size) < 0)
            die(where);
        printf("listening %s:%u\n", host, ntohs(a.sin_port));
    }
    fflush(stdout);
    return fd;
}

static void usage(void)
{
    fprintf(stderr, "usage: sink --listen 127.0.0.1:PORT|unix:PATH [--lmtp] [--announce NAME,NAME...] [--delay MS] "
                    "[--final-delay MS] [--record FILE]\n");
    exit(64);
}

int main(int argc, char **argv)
{
    const char *where = NULL, *announce = "PIPELINING,CHUNKING,8BITMIME,SIZE";
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--lmtp") == 0) {
            lmtp = true;
            continue;
        }
        if (value == NULL)
            usage();
        i++;
        if (strcmp(argv[i - 1], "--listen") == 0)
            where = value;
        else if (strcmp(argv[i - 1], "--announce") == 0)
            announce = value;
        else if (strcmp(argv[i - 1], "--delay") == 0)
            delay_ns = (uint64_t)(atof(value) * 1e6);
        else if (strcmp(argv[i - 1], "--final-delay") == 0)
            final_delay_ns = (uint64_t)(atof(value) * 1e6);
        else if (strcmp(argv[i - 1], "--record") == 0) {
            record = fopen(value, "we");
            if (record == NULL)
                die(value);
            setvbuf(record, NULL, _IOFBF, 1 << 20);
        } else
            usage();
    }
    if (where == NULL)
        usage();
    say_pipelining = strcasestr(announce, "PIPELINING") != NULL;
    say_chunking = strcasestr(announce, "CHUNKING") != NULL;
    say_8bitmime = strcasestr(announce, "8BITMIME") != NULL;
    say_size = strcasestr(announce, "SIZE") != NULL;

    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    int signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (signals < 0 || poller < 0)
        die("epoll");
    int listener = listen_at(where);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    e.data.fd = signals;
    epoll_ctl(poller, EPOLL_CTL_ADD, signals, &e);

    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, flush_due());
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(listener);
                continue;
            }
            if (fd == signals) {
                struct signalfd_siginfo info;
                if (read(signals, &info, sizeof info) != sizeof info)
                    continue;
                print_counters();
                if (info.ssi_signo != SIGUSR1)
                    return 0;
                continue;
            }
            struct connection *c = fd < by_fd_room ? by_fd[fd] : NULL;
            if (c != NULL && (events[i].events & EPOLLOUT) && !flush(c))
                continue;
            if (c != NULL && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                readable(c);
        }
    }
}
