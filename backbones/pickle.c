/* pickle.c: a pickle as data. Python's pickle is a program for a stack machine that can import and call anything; here
 * the machine knows only the opcodes that build plain data, and a call of a global on the list below becomes a note of
 * what would be called. Opcodes: CPython, Lib/pickletools.py. */
#include "backbones/pickle.h"
#include "backbones/tensor_file.h"
#include "core/checked.h"

#include <stdio.h>
#include <string.h>

#define PICKLE_MAX ((size_t)16 << 20)

/* ---- what may be named ---- */

#define STORAGE(NAME, TYPE) { "torch", NAME "Storage", CLVI_ROLE_STORAGE, TYPE }
#define OTHER(MODULE, NAME) { MODULE, NAME, CLVI_ROLE_OTHER, 0 }

static const clvi_pickle_global globals[] = {
    { "collections", "OrderedDict", CLVI_ROLE_DICT, 0 },
    { "collections", "defaultdict", CLVI_ROLE_DICT, 0 },
    { "collections", "Counter", CLVI_ROLE_DICT, 0 },
    { "torch._utils", "_rebuild_tensor_v2", CLVI_ROLE_TENSOR, 0 },
    { "torch._utils", "_rebuild_tensor", CLVI_ROLE_TENSOR, 0 },
    { "torch._utils", "_rebuild_parameter", CLVI_ROLE_WRAP, 0 },
    { "torch._utils", "_rebuild_parameter_with_state", CLVI_ROLE_WRAP, 0 },
    { "torch.nn.parameter", "Parameter", CLVI_ROLE_WRAP, 0 },
    STORAGE("Double", CLVI_STORED_F64), STORAGE("Float", CLVI_STORED_F32), STORAGE("Half", CLVI_STORED_F16),
    STORAGE("BFloat16", CLVI_STORED_BF16), STORAGE("Long", CLVI_STORED_I64), STORAGE("Int", CLVI_STORED_I32),
    STORAGE("Short", CLVI_STORED_I16), STORAGE("Char", CLVI_STORED_I8), STORAGE("Byte", CLVI_STORED_U8),
    STORAGE("Bool", CLVI_STORED_BOOL),
    /* What training scripts keep beside the weights. */
    OTHER("torch", "Size"), OTHER("torch", "device"), OTHER("torch", "float32"), OTHER("torch", "float16"),
    OTHER("torch", "float64"), OTHER("torch", "bfloat16"), OTHER("torch", "int64"), OTHER("argparse", "Namespace"),
    OTHER("numpy.core.multiarray", "scalar"), OTHER("numpy._core.multiarray", "scalar"), OTHER("numpy", "dtype"),
    OTHER("_codecs", "encode"), OTHER("builtins", "set"), OTHER("__builtin__", "set"), OTHER("builtins", "int"),
    OTHER("builtins", "list"), OTHER("builtins", "dict"), OTHER("pathlib", "PosixPath"),
};

/* ---- the machine ---- */

typedef struct machine {
    clvi_pickle   *p;
    const uint8_t *bytes;
    size_t         size, at;
} machine;

static clv_status grow(clv_context *ctx, void **items, uint32_t wanted, uint32_t *room, size_t size)
{
    if (wanted < *room) return CLV_OK;
    const uint32_t more = CLVI_MAX(2 * *room, CLVI_MAX(wanted + 1, 64));
    void *grown = clvi_realloc(ctx, *items, (size_t)more * size);
    if (!grown) return CLV_ERR_NOMEM;
    memset((char *)grown + *room * size, 0, (more - *room) * size);
    *items = grown;
    *room = more;
    return CLV_OK;
}

static clv_status push(machine *m, uint32_t value)
{
    clvi_pickle *p = m->p;
    CLV_TRY(grow(p->ctx, (void **)&p->stack, p->depth, &p->stack_room, sizeof *p->stack));
    p->stack[p->depth++] = value;
    return CLV_OK;
}

static clv_status push_new(machine *m, clvi_pickle_value v)
{
    clvi_pickle *p = m->p;
    CLV_TRY(grow(p->ctx, (void **)&p->value, p->values, &p->value_room, sizeof *p->value));
    p->value[p->values] = v;
    return push(m, p->values++);
}

#define SOUND(cond, why) CLV_CHECK(cond, CLV_ERR_FORMAT, "damaged pickle: byte %zu: " why, m->at)

/* The value on top; not a mark. */
static clv_status pop(machine *m, uint32_t *out)
{
    clvi_pickle *p = m->p;
    SOUND(p->depth > 0 && p->stack[p->depth - 1] != 0, "nothing on the stack");
    *out = p->stack[--p->depth];
    return CLV_OK;
}

/* The value `below` the top without taking it; it must be of `kind`. */
static clv_status peek(machine *m, clvi_pickle_kind kind, uint32_t *out)
{
    clvi_pickle *p = m->p;
    *out = p->depth ? p->stack[p->depth - 1] : 0;
    SOUND(*out && p->value[*out].kind == kind, "another kind of value expected");
    return CLV_OK;
}

/* Place of the first value after the topmost mark. */
static clv_status find_mark(machine *m, uint32_t *first)
{
    uint32_t at = m->p->depth;
    while (at > 0 && m->p->stack[at - 1] != 0) at--;
    SOUND(at > 0, "no mark on the stack");
    *first = at;
    return CLV_OK;
}

static clv_status append(machine *m, uint32_t to, uint32_t key, uint32_t value)
{
    clvi_pickle *p = m->p;
    CLV_TRY(grow(p->ctx, (void **)&p->cell, p->cells, &p->cell_room, sizeof *p->cell));
    clvi_pickle_value *v = &p->value[to];
    p->cell[p->cells] = (clvi_pickle_cell) { key, value, 0 };
    if (v->last) p->cell[v->last].next = p->cells;
    else v->first = p->cells;
    v->last = p->cells++;
    v->length++;
    return CLV_OK;
}

/* ---- reading the program ---- */

static clv_status take(machine *m, size_t n, const uint8_t **out)
{
    SOUND(n <= m->size - m->at, "it ends too early");
    *out = m->bytes + m->at;
    m->at += n;
    return CLV_OK;
}

static clv_status take_number(machine *m, int n, uint64_t *out)
{
    const uint8_t *p;
    CLV_TRY(take(m, (size_t)n, &p));
    *out = 0;
    while (n-- > 0) *out = *out << 8 | p[n];
    return CLV_OK;
}

/* Up to a newline. */
static clv_status take_line(machine *m, clvi_pickle_value *out)
{
    const uint8_t *from = m->bytes + m->at, *end = memchr(from, '\n', m->size - m->at);
    SOUND(end, "it ends too early");
    m->at += (size_t)(end - from) + 1;
    *out = (clvi_pickle_value) { .kind = CLVI_PICKLE_TEXT, .length = (uint32_t)(end - from),
                                 .text = (const char *)from };
    return CLV_OK;
}

static clv_status push_text(machine *m, int length_size)
{
    uint64_t length;
    const uint8_t *text;
    CLV_TRY(take_number(m, length_size, &length));
    CLV_TRY(take(m, length > m->size ? m->size + 1 : (size_t)length, &text));
    return push_new(m, (clvi_pickle_value) { .kind = CLVI_PICKLE_TEXT, .length = (uint32_t)length,
                                             .text = (const char *)text });
}

static clv_status push_int(machine *m, int64_t v)
{
    return push_new(m, (clvi_pickle_value) { .kind = CLVI_PICKLE_INT, .integer = v });
}

/* An integer of n bytes in two's complement; those beyond 64 bits are no numbers of ours. */
static clv_status push_long(machine *m, uint64_t n)
{
    const uint8_t *p;
    CLV_TRY(take(m, n > m->size ? m->size + 1 : (size_t)n, &p));
    if (n > 8) return push_new(m, (clvi_pickle_value) { .kind = CLVI_PICKLE_OTHER });
    uint64_t v = n > 0 && p[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint64_t i = n; i-- > 0;) v = v << 8 | p[i];
    return push_int(m, (int64_t)v);
}

static clv_status push_float(machine *m)
{
    const uint8_t *p;
    uint64_t bits = 0;
    clvi_pickle_value v = { .kind = CLVI_PICKLE_FLOAT };
    CLV_TRY(take(m, 8, &p));
    for (int i = 0; i < 8; i++) bits = bits << 8 | p[i];
    memcpy(&v.real, &bits, sizeof v.real);
    return push_new(m, v);
}

static bool same(const clvi_pickle_value *text, const char *name)
{
    return strlen(name) == text->length && !memcmp(name, text->text, text->length);
}

static clv_status push_global(machine *m, const clvi_pickle_value *module, const clvi_pickle_value *name)
{
    for (size_t i = 0; i < CLVI_COUNT(globals); i++)
        if (same(module, globals[i].module) && same(name, globals[i].name))
            return push_new(m, (clvi_pickle_value) { .kind = CLVI_PICKLE_GLOBAL, .global = &globals[i] });
    char text[256], shown[CLVI_SHOWN];
    snprintf(text, sizeof text, "%.*s.%.*s", (int)CLVI_MIN(module->length, 100), module->text,
             (int)CLVI_MIN(name->length, 100), name->text);
    return clvi_fail(CLV_ERR_UNSUPPORTED,
                     "it refers to '%s', which is not on the list of what may be in a file of weights; if you trust "
                     "the file, save its state_dict alone from Python", clvi_shown(text, shown));
}

/* ---- building ---- */

/* Everything above the mark into a new container. */
static clv_status collect(machine *m, clvi_pickle_kind kind, uint32_t first)
{
    clvi_pickle *p = m->p;
    CLV_TRY(push_new(m, (clvi_pickle_value) { .kind = kind }));
    const uint32_t made = p->stack[--p->depth], end = p->depth;
    const bool pairs = kind == CLVI_PICKLE_DICT;
    SOUND(!pairs || (end - first) % 2 == 0, "a key without a value");
    for (uint32_t i = first; i < end; i += pairs ? 2 : 1)
        CLV_TRY(append(m, made, pairs ? p->stack[i] : 0, p->stack[i + pairs]));
    p->depth = first;
    return push(m, made);
}

static clv_status collect_mark(machine *m, clvi_pickle_kind kind)
{
    uint32_t first;
    CLV_TRY(find_mark(m, &first));
    CLV_TRY(collect(m, kind, first));
    const uint32_t made = m->p->stack[--m->p->depth];
    m->p->depth--;                                   /* the mark */
    return push(m, made);
}

static clv_status collect_last(machine *m, uint32_t n)
{
    clvi_pickle *p = m->p;
    for (uint32_t i = 0; i < n; i++)
        SOUND(p->depth > i && p->stack[p->depth - 1 - i] != 0, "nothing on the stack");
    return collect(m, CLVI_PICKLE_TUPLE, p->depth - n);
}

/* Values above the mark into the container below it. */
static clv_status add_marked(machine *m, clvi_pickle_kind kind)
{
    clvi_pickle *p = m->p;
    uint32_t first, to;
    CLV_TRY(find_mark(m, &first));
    const uint32_t end = p->depth;
    const bool pairs = kind == CLVI_PICKLE_DICT;
    p->depth = first - 1;
    SOUND(!pairs || (end - first) % 2 == 0, "a key without a value");
    /* Whatever else is filled, a set say, is none of ours. */
    if (p->depth > 0 && p->value[p->stack[p->depth - 1]].kind == CLVI_PICKLE_OTHER) return CLV_OK;
    CLV_TRY(peek(m, kind, &to));
    for (uint32_t i = first; i < end; i += pairs ? 2 : 1)
        CLV_TRY(append(m, to, pairs ? p->stack[i] : 0, p->stack[i + pairs]));
    return CLV_OK;
}

/* APPEND and SETITEM. */
static clv_status add_one(machine *m, clvi_pickle_kind kind)
{
    uint32_t value, key = 0, to;
    CLV_TRY(pop(m, &value));
    if (kind == CLVI_PICKLE_DICT) CLV_TRY(pop(m, &key));
    if (m->p->depth > 0 && m->p->value[m->p->stack[m->p->depth - 1]].kind == CLVI_PICKLE_OTHER) return CLV_OK;
    CLV_TRY(peek(m, kind, &to));
    return append(m, to, key, value);
}

/* A call: nothing happens but that its result is noted. */
static clv_status call(machine *m)
{
    clvi_pickle *p = m->p;
    uint32_t args, callee;
    CLV_TRY(pop(m, &args));
    CLV_TRY(pop(m, &callee));
    SOUND(p->value[callee].kind == CLVI_PICKLE_GLOBAL && p->value[args].kind == CLVI_PICKLE_TUPLE,
          "a call of what cannot be called");
    switch (p->value[callee].global->role) {
    case CLVI_ROLE_DICT: return push_new(m, (clvi_pickle_value) { .kind = CLVI_PICKLE_DICT });
    case CLVI_ROLE_TENSOR: return push_new(m, (clvi_pickle_value) { .kind = CLVI_PICKLE_TENSOR, .first = args });
    case CLVI_ROLE_WRAP:
        SOUND(p->value[args].length > 0, "a parameter of nothing");
        return push(m, p->cell[p->value[args].first].value);
    default: return push_new(m, (clvi_pickle_value) { .kind = CLVI_PICKLE_OTHER });
    }
}

static clv_status persistent(machine *m)
{
    uint32_t id;
    CLV_TRY(pop(m, &id));
    return push_new(m, (clvi_pickle_value) { .kind = CLVI_PICKLE_PERSISTENT, .first = id });
}

static clv_status stack_global(machine *m)
{
    uint32_t module, name;
    CLV_TRY(pop(m, &name));
    CLV_TRY(pop(m, &module));
    const clvi_pickle_value *v = m->p->value;
    SOUND(v[module].kind == CLVI_PICKLE_TEXT && v[name].kind == CLVI_PICKLE_TEXT, "a global without name");
    const clvi_pickle_value a = v[module], b = v[name];
    return push_global(m, &a, &b);
}

static clv_status put(machine *m, uint64_t i)
{
    clvi_pickle *p = m->p;
    SOUND(p->depth > 0 && p->stack[p->depth - 1] != 0, "nothing to remember");
    SOUND(i <= m->size, "a memo number that no pickle of this size needs");
    CLV_TRY(grow(p->ctx, (void **)&p->memo, (uint32_t)i, &p->memo_room, sizeof *p->memo));
    p->memo[i] = p->stack[p->depth - 1];
    p->memos = CLVI_MAX(p->memos, (uint32_t)i + 1);
    return CLV_OK;
}

static clv_status get(machine *m, uint64_t i)
{
    SOUND(i < m->p->memos && m->p->memo[i] != 0, "a memo that was never made");
    return push(m, m->p->memo[i]);
}

/* ---- opcodes ---- */

static clv_status skip_header(machine *m, uint8_t op)
{
    uint64_t n;
    CLV_TRY(take_number(m, op == 0x80 ? 1 : 8, &n));
    CLV_CHECK(op != 0x80 || (n >= 2 && n <= 5), CLV_ERR_UNSUPPORTED,
              "a pickle of protocol %" PRIu64 "; 2 to 5 are read", n);
    return CLV_OK;
}

static clv_status text_global(machine *m)
{
    clvi_pickle_value module, name;
    CLV_TRY(take_line(m, &module));
    CLV_TRY(take_line(m, &name));
    return push_global(m, &module, &name);
}

static clv_status drop(machine *m, bool to_mark)
{
    uint32_t first;
    if (!to_mark) return pop(m, &first);
    CLV_TRY(find_mark(m, &first));
    m->p->depth = first - 1;
    return CLV_OK;
}

/* Opcodes with a number in the program: which, and of how many bytes. */
static clv_status with_number(machine *m, uint8_t op, int bytes)
{
    uint64_t n;
    CLV_TRY(take_number(m, bytes, &n));
    switch (op) {
    case 'h': case 'j': return get(m, n);
    case 'q': case 'r': return put(m, n);
    case 0x8a: case 0x8b: return push_long(m, n);
    case 'J': return push_int(m, (int32_t)(uint32_t)n);
    default: return push_int(m, (int64_t)n);               /* K, M */
    }
}

static clv_status step(machine *m, uint8_t op)
{
    switch (op) {
    case 0x80: case 0x95: return skip_header(m, op);        /* PROTO, FRAME */
    case '(': return push(m, 0);
    case 'N': return push_new(m, (clvi_pickle_value) { .kind = CLVI_PICKLE_NONE });
    case 0x88: case 0x89: return push_int(m, op == 0x88);   /* NEWTRUE, NEWFALSE */
    case 'K': case 'h': case 'q': case 0x8a: return with_number(m, op, 1);
    case 'M': return with_number(m, op, 2);
    case 'J': case 'j': case 'r': case 0x8b: return with_number(m, op, 4);
    case 'G': return push_float(m);
    case 'U': case 'C': case 0x8c: return push_text(m, 1);  /* strings and bytes, up to 255 bytes */
    case 'T': case 'B': case 'X': return push_text(m, 4);
    case 0x8d: case 0x8e: return push_text(m, 8);
    case 'c': return text_global(m);
    case 0x93: return stack_global(m);
    case ')': return collect(m, CLVI_PICKLE_TUPLE, m->p->depth);
    case 't': return collect_mark(m, CLVI_PICKLE_TUPLE);
    case 0x85: case 0x86: case 0x87: return collect_last(m, op - 0x84u);
    case ']': return collect(m, CLVI_PICKLE_LIST, m->p->depth);
    case 'l': return collect_mark(m, CLVI_PICKLE_LIST);
    case '}': return collect(m, CLVI_PICKLE_DICT, m->p->depth);
    case 'd': return collect_mark(m, CLVI_PICKLE_DICT);
    case 'a': return add_one(m, CLVI_PICKLE_LIST);
    case 'e': case 0x90: return add_marked(m, CLVI_PICKLE_LIST);         /* APPENDS, ADDITEMS */
    case 0x8f: return push_new(m, (clvi_pickle_value) { .kind = CLVI_PICKLE_OTHER });   /* EMPTY_SET */
    case 's': return add_one(m, CLVI_PICKLE_DICT);
    case 'u': return add_marked(m, CLVI_PICKLE_DICT);
    case 'R': case 0x81: return call(m);                    /* REDUCE, NEWOBJ */
    case 'b': return drop(m, false);                        /* BUILD: attributes, which nothing here has */
    case 'Q': return persistent(m);
    case 0x94: return put(m, m->p->memos);
    case '0': case '1': return drop(m, op == '1');
    default:
        return clvi_fail(CLV_ERR_UNSUPPORTED, "pickle opcode 0x%02x at byte %zu is not on the list of what may be in a "
                         "file of weights", op, m->at - 1);
    }
}

clv_status clvi_pickle_read(clv_context *ctx, const uint8_t *bytes, size_t size, clvi_pickle *out)
{
    machine m = { .p = out, .bytes = bytes, .size = size };
    *out = (clvi_pickle) { .ctx = ctx, .values = 1, .cells = 1 };
    CLV_CHECK(size <= PICKLE_MAX, CLV_ERR_UNSUPPORTED, "a pickle of %zu bytes, expected at most %zu", size, PICKLE_MAX);
    CLV_TRY(grow(ctx, (void **)&out->value, 1, &out->value_room, sizeof *out->value));
    CLV_TRY(grow(ctx, (void **)&out->cell, 1, &out->cell_room, sizeof *out->cell));
    CLV_CHECK(size >= 2 && bytes[0] == 0x80, CLV_ERR_UNSUPPORTED, "a pickle of protocol 0 or 1; 2 to 5 are read");
    for (;;) {
        const uint8_t *op;
        CLV_TRY(take(&m, 1, &op));
        if (*op == '.') return pop(&m, &out->root);
        CLV_TRY(step(&m, *op));
    }
}

void clvi_pickle_close(clvi_pickle *p)
{
    clvi_free(p->ctx, p->value);
    clvi_free(p->ctx, p->cell);
    clvi_free(p->ctx, p->stack);
    clvi_free(p->ctx, p->memo);
    *p = (clvi_pickle) { 0 };
}

const clvi_pickle_value *clvi_pickle_item(const clvi_pickle *p, const clvi_pickle_value *of, uint32_t i)
{
    if ((of->kind != CLVI_PICKLE_TUPLE && of->kind != CLVI_PICKLE_LIST) || i >= of->length) return NULL;
    uint32_t at = of->first;
    while (i-- > 0) at = p->cell[at].next;
    return &p->value[p->cell[at].value];
}
