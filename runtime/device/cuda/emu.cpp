/* emu.cpp: the emulator's core: fibers, barriers, shared memory, and the backend "emu" over host memory. */
extern "C" {
#define _Alignas alignas
#include "device/backend.h"
#include "device/cuda/fault.h"
#include "device/cuda/augment.h"
#include "device/cuda/flat.h"
}
#include "device/cuda/emu.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <mutex>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

/* ---- switching stacks ---- */

#if defined(__x86_64__)

/* Keeps what a called function must keep, leaves the stack pointer in *from and goes on where `to` stopped. */
extern "C" void clvi_emu_switch(void **from, void *to);
__asm__(".text\n"
        ".type clvi_emu_switch,@function\n"
        "clvi_emu_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size clvi_emu_switch,.-clvi_emu_switch\n");

struct stack_point { void *sp = nullptr; };

static void prepare_stack(stack_point *p, char *stack, size_t size, void (*entry)())
{
    void **top = (void **)(stack + size);
    *--top = nullptr;                /* entry finds the stack as after a call */
    *--top = (void *)entry;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    p->sp = top;
}

static void switch_stack(stack_point *from, stack_point *to) { clvi_emu_switch(&from->sp, to->sp); }

#else
#include <ucontext.h>

struct stack_point { ucontext_t context; };

static void prepare_stack(stack_point *p, char *stack, size_t size, void (*entry)())
{
    getcontext(&p->context);
    p->context.uc_stack.ss_sp = stack;
    p->context.uc_stack.ss_size = size;
    p->context.uc_link = nullptr;
    makecontext(&p->context, entry, 0);
}

static void switch_stack(stack_point *from, stack_point *to) { swapcontext(&from->context, &to->context); }

#endif

/* ---- a block ---- */

namespace {

enum { READY = 0, DONE = 3 };        /* beside CLVI_EMU_BLOCK and CLVI_EMU_WARP */

struct fiber {
    stack_point at;
    char       *stack;
    void       *fake;                /* the address sanitizer's */
    uint3       thread;
    unsigned    lane;
    uint64_t    slot;
    int         state;
};

const size_t STACK = 256 * 1024;
const unsigned WARP = 32;

std::mutex one_launch;               /* __shared__ is static: one launch at a time */
std::vector<fiber> fibers;
std::vector<unsigned> turn;          /* the order in which fibers run */
std::vector<unsigned char> dynamic_shared;
stack_point scheduler;
unsigned current, threads;
void (*body_fn)(void *);
void *body_arg;
uint64_t fiber_order;

/* The address sanitizer wants to know of every switch: to which stack, and that it has happened. */
#if defined(__SANITIZE_ADDRESS__)
const void *scheduler_stack;
size_t scheduler_size;
void switching(void **keep, const void *stack, size_t size) { __sanitizer_start_switch_fiber(keep, stack, size); }
void switched_to_scheduler(void *fake) { __sanitizer_finish_switch_fiber(fake, nullptr, nullptr); }
void switched_to_fiber(void *fake) { __sanitizer_finish_switch_fiber(fake, &scheduler_stack, &scheduler_size); }
#else
const void *const scheduler_stack = nullptr;
const size_t scheduler_size = 0;
void switching(void **, const void *, size_t) {}
void switched_to_scheduler(void *) {}
void switched_to_fiber(void *) {}
#endif

void enter(fiber *f)
{
    void *fake = nullptr;
    switching(&fake, f->stack, STACK);
    switch_stack(&scheduler, &f->at);
    switched_to_scheduler(fake);
}

void leave(fiber *f, bool for_good)
{
    switching(for_good ? nullptr : &f->fake, scheduler_stack, scheduler_size);
    switch_stack(&f->at, &scheduler);
    switched_to_fiber(f->fake);
}

void fiber_main()
{
    switched_to_fiber(nullptr);
    body_fn(body_arg);
    fiber *f = &fibers[current];
    f->state = DONE;
    leave(f, true);
}

void start_fiber(unsigned i, dim3 block)
{
    fiber *f = &fibers[i];
    if (!f->stack) f->stack = (char *)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (f->stack == MAP_FAILED) abort();
    f->thread = { i % block.x, i / block.x % block.y, i / block.x / block.y };
    f->lane = i % WARP;
    f->state = READY;
    prepare_stack(&f->at, f->stack, STACK, fiber_main);
}

/* A random permutation of the fibers, another one for every round. */
void shuffle_turns(uint64_t *state)
{
    for (unsigned i = 0; i < threads; i++) turn[i] = i;
    if (!fiber_order) return;
    for (unsigned i = threads; i-- > 1;) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        const unsigned j = (unsigned)((*state >> 33) % (i + 1)), was = turn[i];
        turn[i] = turn[j];
        turn[j] = was;
    }
}

void run_ready(uint64_t *state)
{
    shuffle_turns(state);
    for (unsigned n = 0; n < threads; n++) {
        fiber *f = &fibers[turn[n]];
        if (f->state != READY) continue;
        current = turn[n];
        clvi_emu_at.thread = f->thread;
        clvi_emu_at.lane = f->lane;
        enter(f);
    }
}

/* Lets on the warps all of whose lanes wait for each other. */
bool release_warps()
{
    bool any = false;
    for (unsigned w = 0; w < threads; w += WARP) {
        unsigned waiting = 0, lanes = threads - w < WARP ? threads - w : WARP;
        for (unsigned i = w; i < w + lanes; i++) waiting += fibers[i].state == CLVI_EMU_WARP;
        if (waiting != lanes) continue;
        for (unsigned i = w; i < w + lanes; i++) fibers[i].state = READY;
        any = true;
    }
    return any;
}

/* True while there is something left to run. A barrier that some threads never reach ends the block with `failed`. */
bool release(bool *failed)
{
    if (release_warps()) return true;
    unsigned block = 0, done = 0;
    for (unsigned i = 0; i < threads; i++) block += fibers[i].state == CLVI_EMU_BLOCK, done += fibers[i].state == DONE;
    if (done == threads) return false;
    if (block != threads) {
        *failed = true;
        return false;
    }
    for (unsigned i = 0; i < threads; i++) fibers[i].state = READY;
    return true;
}

} // namespace

clvi_emu_place clvi_emu_at;

extern "C" void clvi_emu_set_order(uint64_t seed) { fiber_order = seed; }

void clvi_emu_yield(int barrier)
{
    fiber *f = &fibers[current];
    f->state = barrier;
    leave(f, false);
}

/* Two barriers: nobody gives its next value before all have taken this one. */
uint64_t clvi_emu_exchange(uint64_t value, unsigned lane)
{
    fiber *f = &fibers[current];
    const unsigned partner = current - f->lane + lane;
    f->slot = value;
    clvi_emu_yield(CLVI_EMU_WARP);
    const uint64_t got = partner < threads ? fibers[partner].slot : value;
    clvi_emu_yield(CLVI_EMU_WARP);
    return got;
}

unsigned clvi_emu_ballot(bool predicate)
{
    fiber *f = &fibers[current];
    const unsigned first = current - f->lane;
    unsigned bits = 0;
    f->slot = predicate;
    clvi_emu_yield(CLVI_EMU_WARP);
    for (unsigned l = 0; l < WARP && first + l < threads; l++) bits |= (unsigned)fibers[first + l].slot << l;
    clvi_emu_yield(CLVI_EMU_WARP);
    return bits;
}

void *clvi_emu_shared(void) { return dynamic_shared.data(); }

static void open_memory(bool open);

/* False when threads of a block disagreed about a barrier. */
static bool run_blocks(dim3 grid, dim3 block, size_t shared, void (*body)(void *), void *arg)
{
    std::lock_guard<std::mutex> lock(one_launch);
    body_fn = body, body_arg = arg;
    open_memory(true);
    threads = block.x * block.y * block.z;
    if (fibers.size() < threads) fibers.resize(threads);
    turn.resize(threads);
    clvi_emu_at.block_dim = block, clvi_emu_at.grid_dim = grid;
    uint64_t state = fiber_order;
    bool failed = false;
    for (unsigned z = 0; z < grid.z && !failed; z++)
        for (unsigned y = 0; y < grid.y && !failed; y++)
            for (unsigned x = 0; x < grid.x && !failed; x++) {
                clvi_emu_at.block = { x, y, z };
                dynamic_shared.assign(shared, 0xff);       /* NaN: nobody may read what nobody wrote */
                for (unsigned i = 0; i < threads; i++) start_fiber(i, block);
                do run_ready(&state);
                while (release(&failed));
            }
    open_memory(false);
    return !failed;
}

/* ---- the backend ---- */

/* Something recorded: a kernel with its arguments, or a copy or fill. */
struct piece {
    clvi_emu_launch            launch;
    std::vector<unsigned char> body;
};

struct clvi_recording {
    std::vector<piece> pieces;
};

/* Bytes on their way: copies beside the stream begin, and copies for later arrive, as late as they may. */
struct letter {
    void                      *to;
    const void                *from; /* of a copy to the device: it is read when it begins */
    size_t                     size;
    std::vector<unsigned char> bytes;
};

struct emu_device {
    clvi_device base;
    clvi_cuda_fault fault;
    clvi_recording *recording;       /* what is queued goes here and does not run; NULL: it runs */
    std::vector<letter> sent[CLVI_SLOTS], later, done[CLVI_SLOTS];
    clvi_emu_counts counts;
    int64_t queued;                  /* run or recorded */
};


static clv_status run_piece(const clvi_emu_launch *l, void *body)
{
    if (l->grid.x == 0) {            /* no kernel */
        open_memory(true);
        l->call(body);
        open_memory(false);
        return CLV_OK;
    }
    if (run_blocks(l->grid, l->block, l->shared, l->call, body)) return CLV_OK;
    return clvi_fail(CLV_ERR_INTERNAL, "%s: threads of a block disagree about a barrier", l->name);
}

clv_status clvi_emu_queue(clvi_device *device, const clvi_emu_launch *launch, void *body)
{
    emu_device *d = (emu_device *)device;
    clvi_recording *r = d->recording;
    d->queued++;
    if (!r) {
        ++*(launch->grid.x ? &d->counts.launches : &d->counts.copies);
        return run_piece(launch, body);
    }
    const unsigned char *bytes = (const unsigned char *)body;
    r->pieces.push_back({ *launch, std::vector<unsigned char>(bytes, bytes + launch->size) });
    return CLV_OK;
}

/* A copy on the device or a fill. */
template <class F> static clv_status queue_other(clvi_device *device, const char *name, F body)
{
    const clvi_emu_launch launch = { name, dim3(0), dim3(0), 0, [](void *f) { (*(F *)f)(); }, sizeof body };
    return clvi_emu_queue(device, &launch, &body);
}

extern "C" int64_t clvi_emu_queued(clvi_device *device) { return ((emu_device *)device)->queued; }

extern "C" clv_status clvi_emu_run(clvi_device *device, const char *name, void (*call)(void *), void *body,
                                   size_t size)
{
    const clvi_emu_launch launch = { name, dim3(0), dim3(0), 0, call, size };
    return clvi_emu_queue(device, &launch, body);
}

/* What a stream that records refuses. */
static clv_status not_recording(clvi_device *device, const char *what)
{
    if (!((emu_device *)device)->recording) return CLV_OK;
    return clvi_fail(CLV_ERR_DEVICE, "%s while a run is recorded", what);
}

/* Whoever waits watches. */
static clv_status look(clvi_device *device)
{
    return device->watch ? device->watch(device->watch_user) : CLV_OK;
}

static clv_status emu_record(clvi_device *device)
{
    CLV_TRY(not_recording(device, "recording"));
    ((emu_device *)device)->recording = new clvi_recording;
    return CLV_OK;
}

static clv_status emu_recorded(clvi_device *device, clvi_recording **out)
{
    emu_device *d = (emu_device *)device;
    if (out) *out = d->recording;
    else delete d->recording;
    d->recording = nullptr;
    return CLV_OK;
}

static clv_status emu_play(clvi_device *device, clvi_recording *r)
{
    CLV_TRY(not_recording(device, "playing"));
    ((emu_device *)device)->counts.plays++;
    clv_status st = CLV_OK;
    open_memory(true);
    for (size_t i = 0; i < r->pieces.size() && st == CLV_OK; i++)
        st = run_piece(&r->pieces[i].launch, r->pieces[i].body.data());
    open_memory(false);
    return st;
}

static void emu_forget(clvi_device *, clvi_recording *r) { delete r; }

extern "C" clvi_cuda_fault *clvi_cuda_fault_of(clvi_device *device) { return &((emu_device *)device)->fault; }

extern "C" clvi_emu_counts clvi_emu_count(clvi_device *device)
{
    emu_device *d = (emu_device *)device;
    const clvi_emu_counts counts = d->counts;
    d->counts = clvi_emu_counts{ 0, 0, 0, 0, 0 };
    return counts;
}

static int emu_count(char *, size_t) { return 1; }

static bool emu_describe(int ordinal, char *text, size_t size)
{
    snprintf(text, size, "CUDA kernels on the processor");
    return ordinal == 0;
}

extern "C" const clvi_backend clvi_backend_emu;

static clv_status emu_open(clv_context *ctx, int, clvi_device **out)
{
    emu_device *d = new emu_device();
    d->base.backend = &clvi_backend_emu;
    d->base.ctx = ctx;
    d->base.fault = &d->fault;
    d->base.stream = d;
    *out = &d->base;
    return CLV_OK;
}

static void emu_close(clvi_device *device) { delete (emu_device *)device; }

/* Memory of the device is out of the host's reach except while a kernel runs or a copy is made: code that takes one for
 * the other dies at once. Under the address sanitizer it is the heap's instead, so that a step too far is seen. */
#if defined(__SANITIZE_ADDRESS__)
static void *take(size_t size) { return calloc(1, size); }
static void give(void *memory, size_t) { free(memory); }
static void open_memory(bool) {}
#else
struct block { void *memory; size_t size; };
static std::vector<block> blocks;
static size_t pages(size_t size) { return (size + 4095) & ~(size_t)4095; }

static void *take(size_t size)
{
    void *memory = mmap(nullptr, pages(size), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    blocks.push_back({ memory, size });
    return memory;
}

static void give(void *memory, size_t i)
{
    munmap(memory, pages(blocks[i].size));
    blocks.erase(blocks.begin() + (ptrdiff_t)i);
}

static int opened;                   /* so many ask for it */

static void open_memory(bool open)
{
    if (open ? opened++ > 0 : --opened > 0) return;
    for (const block &b : blocks) mprotect(b.memory, pages(b.size), open ? PROT_READ | PROT_WRITE : PROT_NONE);
}
#endif

static clv_status emu_alloc(clvi_device *device, size_t size, void **out)
{
    *out = nullptr;
    CLV_TRY(not_recording(device, "memory is taken"));
    *out = take(size ? size : 1);
    return *out ? CLV_OK : CLV_ERR_NOMEM;
}

static void emu_free(clvi_device *, void *memory)
{
    size_t i = 0;
#if !defined(__SANITIZE_ADDRESS__)
    while (i < blocks.size() && blocks[i].memory != memory) i++;
    if (i == blocks.size()) abort();
#endif
    give(memory, i);
}

static clv_status emu_copy(clvi_device *device, void *to, const void *from, size_t size, clvi_copy kind)
{
    if (size == 0) return CLV_OK;
    if (kind == CLVI_COPY_LATER) {
        emu_device *d = (emu_device *)device;
        return queue_other(device, "copy", [=] {
            const unsigned char *bytes = (const unsigned char *)from;
            d->later.push_back({ to, nullptr, size, std::vector<unsigned char>(bytes, bytes + size) });
        });
    }
    if (kind != CLVI_COPY_ON_DEVICE) CLV_TRY(not_recording(device, "a copy from or to the host"));
    if (kind == CLVI_COPY_TO_HOST) CLV_TRY(look(device));
    return queue_other(device, "copy", [=] { memcpy(to, from, size); });
}

static clv_status emu_fill(clvi_device *device, void *memory, int byte, size_t size)
{
    if (size == 0) return CLV_OK;
    return queue_other(device, "fill", [=] { memset(memory, byte, size); });
}

static clv_status emu_wait(clvi_device *device)
{
    CLV_TRY(not_recording(device, "waiting"));
    CLV_TRY(look(device));
    ((emu_device *)device)->counts.waits++;
    clvi_cuda_fault *fault = clvi_cuda_fault_of(device), was = *fault;
    memset(fault, 0, sizeof *fault);
    return clvi_cuda_fault_status(&was);
}

/* ---- slots ---- */

static clv_status emu_alloc_host(clvi_device *device, size_t size, void **out)
{
    *out = nullptr;
    CLV_TRY(not_recording(device, "memory is taken"));
    *out = calloc(1, size ? size : 1);
    return *out ? CLV_OK : CLV_ERR_NOMEM;
}

static void emu_free_host(clvi_device *, void *memory) { free(memory); }

static void begin_copies(std::vector<letter> *letters)
{
    open_memory(true);
    for (const letter &l : *letters) memcpy(l.to, l.from ? l.from : l.bytes.data(), l.size);
    open_memory(false);
    letters->clear();
}

static clv_status emu_send(clvi_device *device, int slot, void *to, const void *from, size_t size)
{
    CLV_TRY(not_recording(device, "a copy from the host"));
    ((emu_device *)device)->counts.sends++;
    ((emu_device *)device)->sent[slot].push_back({ to, from, size, {} });
    return CLV_OK;
}

static clv_status emu_enter(clvi_device *device, int slot)
{
    begin_copies(&((emu_device *)device)->sent[slot]);
    return CLV_OK;
}

static clv_status emu_leave(clvi_device *device, int slot)
{
    emu_device *d = (emu_device *)device;
    for (letter &l : d->later) d->done[slot].push_back(l);
    d->later.clear();
    return CLV_OK;
}

static clv_status emu_reach(clvi_device *device, int slot, bool copied)
{
    emu_device *d = (emu_device *)device;
    CLV_TRY(not_recording(device, "waiting"));
    CLV_TRY(look(device));
    begin_copies(copied ? &d->sent[slot] : &d->done[slot]);
    return CLV_OK;
}

#define CLVI_KERNEL(ident) extern "C" const clvi_kernel clvi_kernel_##ident;
#include "device/cuda/kernels.def"
#undef CLVI_KERNEL

static const clvi_kernel *const emu_kernels[] = {
#define CLVI_KERNEL(ident) &clvi_kernel_##ident,
#include "device/cuda/kernels.def"
#undef CLVI_KERNEL
    nullptr
};

extern "C" const clvi_backend clvi_backend_emu = {
    CLVI_BACKEND_ABI, "emu", emu_kernels, emu_count, emu_describe, emu_open, emu_close,
    emu_alloc, emu_free, emu_copy, emu_fill, emu_wait, emu_record, emu_recorded, emu_play, emu_forget,
    emu_alloc_host, emu_free_host, emu_send, emu_enter, emu_leave, emu_reach, &clvi_cuda_flat_passes,
    clvi_cuda_augment, &clvi_cuda_step_passes, false,
};
