/* The compiled core of the wire: what wire.py and wire_process.py do, fast enough for 150,000 frames a second.

   wire.py is the definition. Everything here that draws or decides is the same step by step, with the same generator
   (Python's Mersenne Twister, its state handed over), so that a seed loses the same packets in either;
   tests/unit/test_wire_core.py holds the two against each other. Loaded by wire_core.py with ctypes: no Python.h. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define VERSION 4
#define NANO 1000000000LL
#define ETHERNET_BYTES 14
#define BURST 64         /* frames taken, or sent, in one system call */
#define PAUSE_NS 100000  /* so long are frames left to gather once they come more often than this */
#define SLOT_BYTES 2048  /* holds a frame of an ordinary MTU; a larger one gets memory of its own */
#define LARGEST_BYTES 65536
#define BUCKETS 1024
#define MOST_INTERFACES 65536
#define MT_WORDS 624
#define CLASSES 8 /* of a direction; the last is of what is in no other */
#define MARKS 64
#define NEVER INT64_MAX

enum { UNIFORM, NORMAL, PARETO };

/* A packet that waits for the rate, in the queue of its class: wire_classes.Queued. */
struct queued {
    int64_t arrived_ns, packet_bytes, delay_ns; /* a delay below 0: sent ahead, without any */
    void *packet;
    struct queued *next;
};

/* As wire_core.Direction, field by field. Times are ns, shares from 0 to 1. */
struct direction {
    int64_t delay_ns, jitter_ns, rate_bps, queue_packets;
    double loss, reorder, duplicate, burst_enter, burst_leave, burst_loss;
    int32_t distribution, has_burst, is_bleached, incoming, outgoing;
    int32_t is_bad, has_gauss, mt_index;
    double gauss_next;
    uint32_t mt[MT_WORDS];
    int64_t rate_free_ns, last_due_ns;
    int64_t received, sent, lost, queue_drops, duplicated, reordered, send_failures;
    int64_t class_limit[CLASSES], class_rate_bps[CLASSES], class_free_ns[CLASSES], class_waiting[CLASSES];
    int64_t turn_ns; /* for which the heap has an entry; 0: none */
    struct queued *first[CLASSES], *last[CLASSES];
    int64_t mark_drops[MARKS]; /* by DSCP, of packets that found the queue of their class full */
    int32_t has_classes;
    uint8_t class_of[MARKS];
};

/* As wire_core.Health. */
struct health {
    int64_t send_failures, max_late_ns;
    int64_t buckets[BUCKETS]; /* wire.LatenessHistogram's */
};

struct frame {
    uint32_t length, users;
    uint8_t *bytes; /* behind this header in a slot, or memory of its own */
    struct frame *next_free;
};

struct waiting {
    int64_t due_ns;
    uint64_t number; /* of equal times the earlier goes first */
    struct frame *frame; /* none: a turn of the direction's classes */
    struct direction *direction;
    int32_t outgoing;
    int32_t class; /* UNSHAPED, CLASSLESS, or which */
};
enum { UNSHAPED = -2, CLASSLESS = -1 };

/* What recvmmsg is told, made once; it changes lengths, which are set again behind it. */
struct inbox {
    struct mmsghdr messages[BURST];
    struct iovec parts[BURST][2];
    struct sockaddr_ll from[BURST];
    struct frame *posted[BURST];
    char control[BURST][64];
    uint8_t *overflow; /* where what does not fit into a slot is received, BURST times */
};

struct outbox {
    struct mmsghdr messages[BURST];
    struct iovec parts[BURST];
    struct sockaddr_ll to[BURST];
    struct waiting entries[BURST];
};

struct wire {
    int socket, stop, timer, epoll;
    int64_t timer_due_ns;
    struct direction **by_interface;
    struct health *health;
    struct waiting *heap;
    size_t waiting, room;
    uint64_t number;
    struct frame *free;
    struct inbox in;
    struct outbox out;
};

int64_t wire_version(void) { return VERSION; }
int64_t wire_direction_bytes(void) { return sizeof(struct direction); }
int64_t wire_health_bytes(void) { return sizeof(struct health); }

/* ---- chance: random() of Python's generator, and the distributions that its random module makes of it ---- */

static uint32_t next_word(struct direction *d) {
    if (d->mt_index >= MT_WORDS) {
        for (int k = 0; k < MT_WORDS; k++) {
            uint32_t y = (d->mt[k] & 0x80000000u) | (d->mt[(k + 1) % MT_WORDS] & 0x7fffffffu);
            d->mt[k] = d->mt[(k + 397) % MT_WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        d->mt_index = 0;
    }
    uint32_t y = d->mt[d->mt_index++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

static double draw(struct direction *d) {
    uint32_t a = next_word(d) >> 5, b = next_word(d) >> 6;
    return (a * 67108864.0 + b) * (1.0 / 9007199254740992.0);
}

static int happens(struct direction *d, double ratio) { return ratio > 0 && draw(d) < ratio; }

static double gauss(struct direction *d) {
    if (d->has_gauss) {
        d->has_gauss = 0;
        return 0.0 + d->gauss_next * 1.0;
    }
    double angle = draw(d) * (2.0 * M_PI), radius = sqrt(-2.0 * log(1.0 - draw(d)));
    d->gauss_next = sin(angle) * radius;
    d->has_gauss = 1;
    return 0.0 + cos(angle) * radius * 1.0;
}

static int64_t jitter(struct direction *d) {
    double deviation;
    switch (d->distribution) {
    case UNIFORM:
        deviation = -1.0 + 2.0 * draw(d);
        break;
    case NORMAL:
        deviation = fmax(-4.0, fmin(4.0, gauss(d)));
        break;
    default:
        deviation = fmin(4.0, (pow(1.0 - draw(d), -1.0 / 3.0) - 1.5) * (4.0 / 3.0));
    }
    return (int64_t)nearbyint(deviation * (double)d->jitter_ns); /* half to even, as Python's round */
}

/* ---- one direction of one link: wire.LinkDirection ---- */

static int is_lost(struct direction *d) {
    int in_burst = 0;
    if (d->has_burst) {
        int was_bad = d->is_bad;
        if (draw(d) < (was_bad ? d->burst_leave : d->burst_enter))
            d->is_bad = !was_bad;
        in_burst = was_bad && draw(d) < d->burst_loss;
    }
    return happens(d, d->loss) || in_burst;
}

/* The delay of a packet; -1 for one that is sent ahead of it. */
static int64_t delay(struct direction *d) {
    if (happens(d, d->reorder)) {
        d->reordered++;
        return -1;
    }
    int64_t delay_ns = d->jitter_ns ? d->delay_ns + jitter(d) : d->delay_ns;
    return delay_ns > 0 ? delay_ns : 0;
}

/* When a packet is due that has the rate from at_ns on, or from when it is free. */
static int64_t behind(struct direction *d, int64_t at_ns, int64_t packet_bytes, int64_t delay_ns) {
    if (d->rate_bps) {
        if (d->rate_free_ns > at_ns)
            at_ns = d->rate_free_ns;
        at_ns += packet_bytes * 8 * NANO / d->rate_bps;
        d->rate_free_ns = at_ns;
    }
    if (delay_ns < 0)
        return at_ns;
    if (at_ns + delay_ns > d->last_due_ns)
        d->last_due_ns = at_ns + delay_ns;
    return d->last_due_ns;
}

static int64_t ready(const struct direction *d, int class) {
    const struct queued *q = d->first[class];
    return !q ? NEVER : q->arrived_ns > d->class_free_ns[class] ? q->arrived_ns : d->class_free_ns[class];
}

/* When a packet of the classes has the rate next: wire.LinkDirection.turn_ns; -1 where none waits. */
int64_t wire_turn(const struct direction *d) {
    int64_t first_ns = NEVER;
    for (int class = 0; class < CLASSES; class++)
        if (ready(d, class) < first_ns)
            first_ns = ready(d, class);
    return first_ns == NEVER ? -1 : first_ns > d->rate_free_ns ? first_ns : d->rate_free_ns;
}

/* Give the rate to the packet whose turn it is: wire.LinkDirection.take. */
int64_t wire_take(struct direction *d, int32_t *class, void **packet) {
    int64_t at_ns = wire_turn(d);
    int index = 0;
    while (ready(d, index) > at_ns)
        index++;
    struct queued *queued = d->first[index];
    d->first[index] = queued->next;
    if (d->class_rate_bps[index])
        d->class_free_ns[index] = at_ns + queued->packet_bytes * 8 * NANO / d->class_rate_bps[index];
    d->rate_free_ns = at_ns;
    int64_t due_ns = behind(d, at_ns, queued->packet_bytes, queued->delay_ns);
    *class = index;
    *packet = queued->packet;
    free(queued);
    return due_ns;
}

/* Note that a packet was sent on: wire.LinkDirection.leave. */
void wire_leave(struct direction *d, int32_t class) {
    d->sent++;
    if (class >= 0)
        d->class_waiting[class]--;
}

static int enqueue(struct direction *d, int class, int64_t arrived_ns, int64_t packet_bytes, void *packet) {
    struct queued *queued = malloc(sizeof *queued);
    if (!queued)
        return -1;
    *queued = (struct queued){arrived_ns, packet_bytes, delay(d), packet, NULL};
    if (d->first[class])
        d->last[class]->next = queued;
    else
        d->first[class] = queued;
    d->last[class] = queued;
    d->class_waiting[class]++;
    return 0;
}

/* Take in an IP packet; return how many copies of it there are: 0, 1 or 2, or -1 without memory. Write when they are
   due; NEVER for those that wait in a class until wire_take gives packet back. */
int wire_admit(struct direction *d, int64_t arrived_ns, int64_t packet_bytes, int32_t dscp, void *packet,
    int64_t due_ns[2]) {
    d->received++;
    int copies = 1 + happens(d, d->duplicate);
    copies -= is_lost(d);
    if (!copies) {
        d->lost++;
        return 0;
    }
    int64_t waiting = d->received + d->duplicated - d->lost - d->queue_drops - d->sent;
    int class = d->has_classes ? d->class_of[dscp] : CLASSLESS;
    int64_t room = d->queue_packets - waiting + 1; /* this packet is counted as waiting, though in no class yet */
    if (class != CLASSLESS)
        room = d->class_limit[class] - d->class_waiting[class];
    if (room <= 0) {
        d->queue_drops++;
        if (class != CLASSLESS)
            d->mark_drops[dscp]++;
        return 0;
    }
    if (copies > room)
        copies = (int)room;
    d->duplicated += copies - 1;
    for (int copy = 0; copy < copies; copy++) {
        due_ns[copy] = NEVER;
        if (class == CLASSLESS)
            due_ns[copy] = behind(d, arrived_ns, packet_bytes, delay(d));
        else if (enqueue(d, class, arrived_ns, packet_bytes, packet))
            return -1;
    }
    return copies;
}

/* The DSCP of the IPv4 packet in an Ethernet frame, 0 of anything else: wire.dscp_of. */
int wire_dscp(const uint8_t *frame, uint32_t length) {
    return length > ETHERNET_BYTES + 1 && frame[12] == 8 && frame[13] == 0 ? frame[15] >> 2 : 0;
}

/* Set the DSCP of an IPv4 packet in an Ethernet frame to 0: wire.bleach_dscp (RFC 1624). */
void wire_bleach(uint8_t *frame, uint32_t length) {
    if (length < ETHERNET_BYTES + 20 || frame[12] != 8 || frame[13] != 0 || !(frame[15] & 0xfc))
        return;
    uint32_t before = (uint32_t)frame[14] << 8 | frame[15], after = before & ~0xfcu;
    uint32_t sum = (~((uint32_t)frame[24] << 8 | frame[25]) & 0xffff) + (~before & 0xffff) + after;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    frame[15] = after & 0xff;
    frame[24] = (~sum >> 8) & 0xff;
    frame[25] = ~sum & 0xff;
}

/* ---- frames and the heap of those that wait ---- */

static struct frame *new_frame(struct wire *w) {
    struct frame *frame = w->free;
    if (frame) {
        w->free = frame->next_free;
    } else if ((frame = malloc(sizeof *frame + SLOT_BYTES))) {
        frame->bytes = (uint8_t *)(frame + 1);
    }
    return frame;
}

static void drop_frame(struct wire *w, struct frame *frame) {
    if (--frame->users)
        return;
    if (frame->bytes != (uint8_t *)(frame + 1)) {
        free(frame->bytes);
        frame->bytes = (uint8_t *)(frame + 1);
    }
    frame->next_free = w->free;
    w->free = frame;
}

static int before(const struct waiting *a, const struct waiting *b) {
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static int push(struct wire *w, struct waiting entry) {
    if (w->waiting == w->room) {
        size_t room = w->room ? 2 * w->room : 4096;
        struct waiting *heap = realloc(w->heap, room * sizeof *heap);
        if (!heap)
            return -1;
        w->heap = heap;
        w->room = room;
    }
    entry.number = w->number++;
    size_t at = w->waiting++;
    while (at && before(&entry, &w->heap[(at - 1) / 2])) {
        w->heap[at] = w->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->heap[at] = entry;
    return 0;
}

static struct waiting pop(struct wire *w) {
    struct waiting first = w->heap[0], last = w->heap[--w->waiting];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < w->waiting) {
        if (child + 1 < w->waiting && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &last))
            break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    if (w->waiting)
        w->heap[at] = last;
    return first;
}

/* ---- receiving and sending ---- */

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * NANO + t.tv_nsec;
}

void wire_count_lateness(struct health *h, int64_t late_ns) {
    if (late_ns < 0)
        late_ns = 0;
    int bits = late_ns ? 64 - __builtin_clzll((unsigned long long)late_ns) : 0;
    int shift = bits > 4 ? bits - 4 : 0;
    h->buckets[shift << 4 | late_ns >> shift]++;
    if (late_ns > h->max_late_ns)
        h->max_late_ns = late_ns;
}

/* Have an entry in the heap for when a packet of the direction's classes has its turn. */
static int await_turn(struct wire *w, struct direction *d) {
    int64_t turn_ns = wire_turn(d);
    if (turn_ns < 0 || (d->turn_ns && d->turn_ns <= turn_ns))
        return 0;
    d->turn_ns = turn_ns;
    return push(w, (struct waiting){turn_ns, 0, NULL, d, d->outgoing, UNSHAPED});
}

/* Give a turn; one for which an earlier one came since is none. */
static int give_turn(struct wire *w, struct direction *d, int64_t turn_ns) {
    if (turn_ns != d->turn_ns)
        return 0;
    d->turn_ns = 0;
    void *frame;
    struct waiting entry = {0, 0, NULL, d, d->outgoing, 0};
    entry.due_ns = wire_take(d, &entry.class, &frame);
    entry.frame = frame;
    return push(w, entry) || await_turn(w, d) ? -1 : 0;
}

/* Take a received frame in; the caller has given it one user, which is given back here. */
static int admit_frame(struct wire *w, struct frame *frame, struct direction *d, int64_t arrived_ns) {
    int64_t due_ns[2] = {arrived_ns, 0};
    int is_arp = frame->length >= 14 && frame->bytes[12] == 8 && frame->bytes[13] == 6, copies = 1, failed = 0;
    if (!is_arp) {
        if (d->is_bleached)
            wire_bleach(frame->bytes, frame->length);
        int dscp = d->has_classes ? wire_dscp(frame->bytes, frame->length) : 0;
        copies = wire_admit(d, arrived_ns, (int64_t)frame->length - ETHERNET_BYTES, dscp, frame, due_ns);
        if (copies < 0)
            return -1;
    }
    for (int copy = 0; copy < copies && !failed; copy++) {
        struct waiting entry = {due_ns[copy], 0, frame, d, d->outgoing, is_arp ? UNSHAPED : CLASSLESS};
        frame->users++;
        failed = due_ns[copy] == NEVER ? await_turn(w, d) : push(w, entry);
    }
    drop_frame(w, frame);
    return failed;
}

static int64_t arrival_of(struct msghdr *message) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            return t.tv_sec * NANO + t.tv_nsec;
        }
    return now();
}

static int post(struct wire *w, int i) {
    struct inbox *in = &w->in;
    if (!(in->posted[i] = new_frame(w)))
        return -1;
    in->parts[i][0] = (struct iovec){in->posted[i]->bytes, SLOT_BYTES};
    return 0;
}

static int open_boxes(struct wire *w) {
    struct inbox *in = &w->in;
    if (!(in->overflow = malloc((size_t)BURST * LARGEST_BYTES)))
        return -1;
    for (int i = 0; i < BURST; i++) {
        in->parts[i][1] = (struct iovec){in->overflow + (size_t)i * LARGEST_BYTES, LARGEST_BYTES};
        in->messages[i].msg_hdr = (struct msghdr){.msg_name = &in->from[i], .msg_namelen = sizeof in->from[i],
            .msg_iov = in->parts[i], .msg_iovlen = 2, .msg_control = in->control[i],
            .msg_controllen = sizeof in->control[i]};
        if (post(w, i))
            return -1;
        w->out.to[i] = (struct sockaddr_ll){.sll_family = AF_PACKET};
        w->out.messages[i].msg_hdr = (struct msghdr){.msg_name = &w->out.to[i], .msg_namelen = sizeof w->out.to[i],
            .msg_iov = &w->out.parts[i], .msg_iovlen = 1};
    }
    return 0;
}

/* Take up to BURST frames; return how many there were, or -1. */
static int take(struct wire *w) {
    struct inbox *in = &w->in;
    int count = recvmmsg(w->socket, in->messages, BURST, MSG_DONTWAIT, NULL);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR || errno == ENETDOWN ? 0 : -1;
    for (int i = 0; i < count; i++) {
        struct msghdr *message = &in->messages[i].msg_hdr;
        int64_t arrived_ns = arrival_of(message);
        message->msg_namelen = sizeof in->from[i];
        message->msg_controllen = sizeof in->control[i];
        int interface = in->from[i].sll_ifindex;
        struct direction *d = interface < MOST_INTERFACES ? w->by_interface[interface] : NULL;
        if (!d) /* the loopback */
            continue;
        struct frame *frame = in->posted[i];
        frame->users = 1;
        frame->length = in->messages[i].msg_len;
        if (frame->length > SLOT_BYTES) {
            uint8_t *larger = malloc(frame->length);
            if (!larger)
                return -1;
            memcpy(larger, frame->bytes, SLOT_BYTES);
            memcpy(larger + SLOT_BYTES, in->parts[i][1].iov_base, frame->length - SLOT_BYTES);
            frame->bytes = larger;
        }
        if (admit_frame(w, frame, d, arrived_ns) || post(w, i))
            return -1;
    }
    return count;
}

/* A cable that was pulled, a full queue, a frame beyond the MTU: the frame is gone, as on a real cable. */
static int is_lost_on_send(int error) {
    return error == ENOBUFS || error == ENETDOWN || error == EAGAIN || error == ENODEV || error == ENXIO ||
        error == EMSGSIZE;
}

/* Send frames that are due, at most BURST; return how many there were, or -1. */
static int send_due(struct wire *w) {
    struct outbox *out = &w->out;
    int count = 0;
    int64_t now_ns = now();
    while (count < BURST && w->waiting && w->heap[0].due_ns <= now_ns) {
        struct waiting *entry = &out->entries[count];
        *entry = pop(w);
        if (!entry->frame) {
            if (give_turn(w, entry->direction, entry->due_ns))
                return -1;
            continue;
        }
        out->to[count].sll_ifindex = entry->outgoing;
        out->parts[count] = (struct iovec){entry->frame->bytes, entry->frame->length};
        count++;
    }
    for (int done = 0; done < count;) {
        int sent = sendmmsg(w->socket, out->messages + done, count - done, MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && !is_lost_on_send(errno))
            return -1;
        if (sent < 0) {
            w->health->send_failures++;
            out->entries[done].direction->send_failures++;
        }
        done += sent < 0 ? 1 : sent;
    }
    now_ns = count ? now() : now_ns;
    for (int i = 0; i < count; i++) {
        struct waiting *entry = &out->entries[i];
        if (entry->class != UNSHAPED)
            wire_leave(entry->direction, entry->class);
        wire_count_lateness(w->health, now_ns - entry->due_ns);
        drop_frame(w, entry->frame);
    }
    return count;
}

/* ---- the loop ---- */

static int arm(struct wire *w) {
    if (!w->waiting || w->heap[0].due_ns == w->timer_due_ns)
        return 0;
    w->timer_due_ns = w->heap[0].due_ns;
    struct itimerspec at = {.it_value = {w->timer_due_ns / NANO, w->timer_due_ns % NANO}};
    return timerfd_settime(w->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static int watch(struct wire *w, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Let frames gather, both that arrive and that are due: to be woken for each would cost more than to carry it, and would
   take the processor from whoever sends them. Due times count from the kernel's timestamps, so nothing adds up. */
static void let_gather(int64_t now_ns) {
    int64_t until_ns = now_ns + PAUSE_NS;
    struct timespec until = {until_ns / NANO, until_ns % NANO};
    clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL); /* interrupted: so much the sooner */
}

/* Carry frames until the stop descriptor ends; return 0, or -1 with errno set. */
static int carry(struct wire *w) {
    int64_t taken_ns = 0;
    for (int is_over = 0, is_busy = 0; !is_over;) {
        struct epoll_event events[3];
        /* More may be waiting than one burst: then only look whether it is time to stop. */
        int count = epoll_wait(w->epoll, events, 3, is_busy ? 0 : -1);
        if (count < 0 && errno != EINTR)
            return -1;
        int has_frames = is_busy;
        for (int i = 0; i < count; i++) {
            char scrap[4096];
            if (events[i].data.fd == w->stop) {
                is_over = read(w->stop, scrap, sizeof scrap) == 0;
            } else if (events[i].data.fd == w->timer) {
                if (read(w->timer, scrap, 8) < 0 && errno != EAGAIN)
                    return -1;
                w->timer_due_ns = 0;
            } else {
                has_frames = 1;
            }
        }
        int taken = has_frames ? take(w) : 0;
        int sent = send_due(w);
        if (taken < 0 || sent < 0)
            return -1;
        is_busy = taken == BURST || sent == BURST;
        if (taken && !is_busy) {
            int64_t now_ns = now();
            is_busy = now_ns - taken_ns < 2 * PAUSE_NS; /* the last ones came but a pause ago */
            taken_ns = now_ns;
            if (is_busy)
                let_gather(now_ns);
        }
        if (!is_busy && arm(w))
            return -1;
    }
    return 0;
}

/* Carry frames between the interfaces of *directions*, by the packet socket, until *stop* ends. */
int wire_run(int packet_socket, int stop, struct direction *directions, int count, struct health *health) {
    struct wire w = {.socket = packet_socket, .stop = stop, .health = health};
    w.by_interface = calloc(MOST_INTERFACES, sizeof *w.by_interface);
    w.timer = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    w.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!w.by_interface || open_boxes(&w) || w.timer < 0 || w.epoll < 0)
        return -errno;
    for (int i = 0; i < count; i++) {
        if (directions[i].incoming < 0 || directions[i].incoming >= MOST_INTERFACES)
            return -ERANGE;
        w.by_interface[directions[i].incoming] = &directions[i];
    }
    if (watch(&w, stop) || watch(&w, w.timer) || watch(&w, packet_socket))
        return -errno;
    return carry(&w) ? -errno : 0; /* the process ends now: what is still waiting is lost, and so is its memory */
}
