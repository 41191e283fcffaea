/* eval_protocols.c: the protocols of `cleave eval`, one function each, and the printing of their figures. */
#include "cli/eval.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *const cli_eval_distances[3] = { "cosine", "centred-cosine", "l2" };

static void add(cli_outcome *out, double value, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void add(cli_outcome *out, double value, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(out->figure[out->count].name, sizeof out->figure[out->count].name, fmt, args);
    va_end(args);
    out->figure[out->count++].value = value;
}

static clv_status knn(const cli_eval *e, const cli_protocol *protocol, cli_outcome *out)
{
    clv_knn_result r;
    clv_knn_desc desc = e->knn;
    char weights[48] = "majority vote";
    (void)protocol;
    desc.leave_one_out = e->bank == e->query;
    const clv_status st = clv_knn_classify(e->ctx, &desc, &e->bank->view, e->bank->labels, &e->query->view,
                                           e->query->labels, NULL, &r);
    if (st != CLV_OK) return st;
    add(out, r.top1, "top-1");
    add(out, r.top5, "top-5");
    if (desc.vote == CLV_KNN_EXPONENTIAL) snprintf(weights, sizeof weights, "T=%g", desc.temperature);
    snprintf(out->how, sizeof out->how, "k=%" PRId64 ", %s, %s, %s; bank %" PRId64 ", %s %" PRId64, r.k, weights,
             cli_eval_distances[desc.distance], e->features, r.bank, desc.leave_one_out ? "leave-one-out" : "queries",
             r.queries);
    return CLV_OK;
}

static clv_status linear(const cli_eval *e, const cli_protocol *protocol, cli_outcome *out)
{
    clv_linear_desc desc = CLV_LINEAR_DESC_INIT;
    clv_linear_result r;
    char chosen[96] = "no rows to choose it by";
    desc.seed = e->seed;
    if (protocol->share > 0) desc.share = protocol->share;
    const clv_status st = clv_linear_probe(e->ctx, &desc, &e->bank->view, e->bank->labels, &e->query->view,
                                           e->query->labels, NULL, &r);
    if (st != CLV_OK) return st;
    add(out, r.top1, "top-1");
    add(out, r.top5, "top-5");
    if (r.held_out)
        snprintf(chosen, sizeof chosen, "the best of %" PRId64 " in %g..%g on %" PRId64 " rows held out",
                 desc.strengths, desc.lambda_min, desc.lambda_max, r.held_out);
    snprintf(out->how, sizeof out->how,
             "L-BFGS, lambda=%.3g: %s, standardised, %s, seed %" PRIu64 "; train %" PRId64 ", test %" PRId64, r.lambda,
             chosen, e->features, e->seed, r.rows, r.queries);
    return CLV_OK;
}

static clv_status retrieval(const cli_eval *e, const cli_protocol *protocol, cli_outcome *out)
{
    clv_retrieval_desc desc = CLV_RETRIEVAL_DESC_INIT;
    clv_retrieval_result r;
    char without[48] = "";
    (void)protocol;
    desc.distance = e->knn.distance;
    desc.leave_one_out = e->bank == e->query;
    const clv_status st = clv_retrieval_measure(e->ctx, &desc, &e->bank->view, e->bank->labels, &e->query->view,
                                                e->query->labels, &r);
    if (st != CLV_OK) return st;
    for (int i = 0; i < CLV_RETRIEVAL_DEPTHS; i++) add(out, r.recall[i], "Recall@%" PRId64, desc.depth[i]);
    add(out, r.map, "mAP");
    add(out, r.r_precision, "R-precision");
    if (r.without) snprintf(without, sizeof without, ", %" PRId64 " with nothing to find", r.without);
    snprintf(out->how, sizeof out->how, "%s, %s; gallery %" PRId64 ", %s %" PRId64 "%s",
             cli_eval_distances[desc.distance], e->features, r.gallery,
             desc.leave_one_out ? "leave-one-out" : "queries", r.queries, without);
    return CLV_OK;
}

static int by_value(const void *left, const void *right)
{
    const int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* How many labels there are; room [n] is overwritten. */
static int64_t count_labels(const int64_t *labels, int64_t n, int64_t *room)
{
    int64_t count = n > 0;
    memcpy(room, labels, (size_t)n * sizeof *room);
    qsort(room, (size_t)n, sizeof *room, by_value);
    for (int64_t i = 1; i < n; i++) count += room[i] != room[i - 1];
    return count;
}

static clv_status clustering(const cli_eval *e, const cli_protocol *protocol, cli_outcome *out)
{
    clv_cluster_desc desc = CLV_CLUSTER_DESC_INIT;
    clv_cluster_result r;
    double nmi = 0, ari = 0;
    const int64_t n = e->query->view.shape[0];
    int64_t *assignment = calloc((size_t)(n > 0 ? n : 1), sizeof *assignment);
    (void)protocol;
    if (!assignment) return CLV_ERR_NOMEM;
    desc.seed = e->seed;
    desc.clusters = count_labels(e->query->labels, n, assignment);
    clv_status st = clv_kmeans(e->ctx, &desc, &e->query->view, assignment, &r);
    if (st == CLV_OK) st = clv_partitions_compare(e->ctx, e->query->labels, assignment, n, &nmi, &ari);
    free(assignment);
    if (st != CLV_OK) return st;
    add(out, 100 * nmi, "NMI");
    add(out, 100 * ari, "ARI");
    snprintf(out->how, sizeof out->how,
             "k-means++, k=%" PRId64 ", best of %" PRId64 " starts%s, unit length, %s, seed %" PRIu64 "; rows %" PRId64,
             desc.clusters, desc.restarts, r.settled ? "" : " (not settled)", e->features, e->seed, n);
    return CLV_OK;
}

static clv_status verification(const cli_eval *e, const cli_protocol *protocol, cli_outcome *out)
{
    clv_verification_desc desc = CLV_VERIFICATION_DESC_INIT;
    clv_verification_result r;
    char drawn[64] = "";
    (void)protocol;
    desc.distance = e->knn.distance;
    desc.seed = e->seed;
    const clv_status st = clv_verification_measure(e->ctx, &desc, &e->query->view, e->query->labels, &r);
    if (st != CLV_OK) return st;
    for (int i = 0; i < CLV_VERIFICATION_RATES; i++) add(out, r.tar[i], "TAR@FAR=%g", desc.rate[i]);
    add(out, r.eer, "EER");
    add(out, r.auc, "AUC");
    if (r.rows < e->query->view.shape[0])
        snprintf(drawn, sizeof drawn, " drawn from %" PRId64 " (seed %" PRIu64 ")", e->query->view.shape[0], e->seed);
    snprintf(out->how, sizeof out->how, "all pairs, %s, %s; rows %" PRId64 "%s, genuine %" PRId64 ", impostor %" PRId64,
             cli_eval_distances[desc.distance], e->features, r.rows, drawn, r.genuine, r.impostors);
    return CLV_OK;
}

/* One example of each class, then five. */
static clv_status few_shot(const cli_eval *e, const cli_protocol *protocol, cli_outcome *out)
{
    static const int64_t shots[] = { 1, 5 };
    clv_few_shot_desc desc = CLV_FEW_SHOT_DESC_INIT;
    clv_few_shot_result r = { .classes = 0 };
    (void)protocol;
    desc.seed = e->seed;
    for (size_t i = 0; i < sizeof shots / sizeof *shots; i++) {
        desc.shots = shots[i];
        const clv_status st = clv_few_shot_measure(e->ctx, &desc, &e->query->view, e->query->labels, &r);
        if (st != CLV_OK) return st;
        add(out, r.accuracy, "%" PRId64 "-shot", desc.shots);
        add(out, r.interval, "%" PRId64 "-shot +-", desc.shots);
    }
    snprintf(out->how, sizeof out->how,
             "%" PRId64 "-way, %" PRId64 " queries of each, %" PRId64 " tasks, +- 95 %%, nearest mean by cosine, %s, "
             "seed %" PRIu64 "; classes %" PRId64, desc.ways, desc.queries, desc.episodes, e->features, e->seed, r.classes);
    return CLV_OK;
}

static clv_status angles(const cli_eval *e, const cli_protocol *protocol, cli_outcome *out)
{
    clv_angles_result r;
    (void)protocol;
    const clv_status st = clv_angles_measure(e->ctx, &e->query->view, e->query->labels, &r);
    if (st != CLV_OK) return st;
    add(out, r.intra, "intra-class");
    add(out, r.inter, "inter-class");
    add(out, r.nearest, "nearest class");
    snprintf(out->how, sizeof out->how, "degrees to and between class centres, %s; rows %" PRId64 ", classes %" PRId64,
             e->features, r.rows, r.classes);
    return CLV_OK;
}

static clv_status frechet(const cli_eval *e, const cli_protocol *protocol, cli_outcome *out)
{
    clv_frechet_result r;
    (void)protocol;
    const clv_status st = clv_frechet_distance(e->ctx, &e->bank->view, &e->query->view, &r);
    if (st != CLV_OK) return st;
    add(out, r.distance, "distance");
    add(out, r.mean, "of means");
    add(out, r.covariance, "of covariances");
    snprintf(out->how, sizeof out->how, "squared, of normal distributions, %s; %" PRId64 " and %" PRId64 " images",
             e->features, r.a, r.b);
    return CLV_OK;
}

const cli_protocol cli_protocols[] = {
    { .name = "knn", .title = "kNN", .bank = true, .measure = knn },
    { .name = "linear", .title = "linear", .bank = true, .apart = true, .measure = linear },
    { .name = "low-shot", .title = "low-shot 1%", .bank = true, .apart = true, .share = 0.01, .measure = linear },
    { .name = "low-shot", .title = "low-shot 10%", .bank = true, .apart = true, .share = 0.1, .measure = linear },
    { .name = "retrieval", .title = "retrieval", .bank = true, .measure = retrieval },
    { .name = "clustering", .title = "clustering", .measure = clustering },
    { .name = "verification", .title = "verification", .measure = verification },
    { .name = "angles", .title = "angles", .measure = angles },
    { .name = "few-shot", .title = "few-shot", .alone = true, .measure = few_shot },
    { .name = "frechet", .title = "Frechet", .bank = true, .apart = true, .alone = true, .measure = frechet },
    { .name = "tagging", .title = "tagging", .text = true },
    { .name = NULL },
};

/* Nothing that is printed here needs escapes in JSON. */
void cli_eval_print(const cli_protocol *protocol, const cli_outcome *outcome, cli_eval_form form, bool first)
{
    if (form == CLI_EVAL_TABLE && first) printf("%-12s  %-14s  %6s  %s\n", "protocol", "figure", "value", "how");
    if (form == CLI_EVAL_LINE) printf("%s ", protocol->title);
    if (form == CLI_EVAL_JSON) printf("{\"kind\": \"eval\", \"protocol\": \"%s\"", protocol->title);
    for (int i = 0; i < outcome->count; i++) {
        const char *name = outcome->figure[i].name;
        const double value = outcome->figure[i].value;
        if (form == CLI_EVAL_TABLE) printf("%-12s  %-14s  %6.2f  %s\n", protocol->title, name, value, outcome->how);
        if (form == CLI_EVAL_LINE) printf("%s %.2f  ", name, value);
        if (form == CLI_EVAL_JSON) printf(", \"%s\": %.6g", name, value);
    }
    if (form == CLI_EVAL_LINE) printf("(%s)\n", outcome->how);
    if (form == CLI_EVAL_JSON) printf(", \"how\": \"%s\"}\n", outcome->how);
    fflush(stdout);
}
