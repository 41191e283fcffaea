/* bank_search.c: looking into a bank: statistics, exact search, which rows belong together. */
#include "memorybank/bank.h"
#include "core/checked.h"
#include "core/parallel.h"
#include <math.h>

/* ---- statistics ---- */

static double square_sum(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

clv_status clv_bank_stats(const clv_bank *bank, clv_bank_statistics *out)
{
    CLV_CHECK(bank && out, CLV_ERR_INVALID, "clv_bank_stats: an argument is NULL");
    clv_bank_statistics s = { .norm_min = INFINITY };
    double *mean = clvi_calloc(bank->ctx, (size_t)bank->dim, sizeof *mean);
    if (!mean) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < bank->capacity; i++) {
        if (!bank->valid[i]) continue;
        double sum = 0;
        for (int64_t j = 0; j < bank->dim; j++) {
            const double x = clvi_bank_value(bank, i * bank->dim + j);
            sum += x * x;
            mean[j] += x;
        }
        const double norm = sqrt(sum), age = (double)(bank->pushes - bank->born[i]);
        s.valid++;
        s.age_mean += age;
        s.age_max = fmax(s.age_max, age);
        s.norm_mean += norm;
        s.norm_min = fmin(s.norm_min, norm);
        s.norm_max = fmax(s.norm_max, norm);
    }
    if (s.valid) {
        const double n = (double)s.valid;
        s.age_mean /= n;
        s.norm_mean /= n;
        s.mean_norm = sqrt(square_sum(mean, bank->dim)) / n;
    } else {
        s.norm_min = 0;
    }
    s.fill = (double)s.valid / (double)bank->capacity;
    s.replaced = bank->replaced;
    s.drift = bank->replaced ? bank->cosines / (double)bank->replaced : 0;
    clvi_free(bank->ctx, mean);
    *out = s;
    return CLV_OK;
}

/* ---- search ---- */

typedef struct search_job {
    const clv_bank *bank;
    const double   *queries;   /* [B,D] */
    int64_t         k;
    int64_t        *index;     /* [B,k] */
    double         *score;
} search_job;

/* Puts slot j into the list of the best, behind all that are at least as good. */
static int64_t offer(int64_t *index, double *score, int64_t found, int64_t k, int64_t j, double s)
{
    if (found == k && !(s > score[k - 1])) return found;
    int64_t at = found < k ? found : k - 1;
    for (; at > 0 && s > score[at - 1]; at--) {
        index[at] = index[at - 1];
        score[at] = score[at - 1];
    }
    index[at] = j;
    score[at] = s;
    return found < k ? found + 1 : k;
}

static void search_range(void *arg, int64_t begin, int64_t end)
{
    const search_job *job = arg;
    const clv_bank *bank = job->bank;
    const int64_t D = bank->dim, k = job->k;
    for (int64_t b = begin; b < end; b++) {
        const double *q = job->queries + b * D;
        int64_t *index = job->index + b * k, found = 0;
        double *score = job->score + b * k;
        for (int64_t j = 0; j < bank->capacity; j++) {
            double s = 0;
            if (!bank->valid[j]) continue;
            for (int64_t d = 0; d < D; d++) s += q[d] * clvi_bank_value(bank, j * D + d);
            found = offer(index, score, found, k, j, s);
        }
        for (; found < k; found++) {
            index[found] = -1;
            score[found] = 0;
        }
    }
}

clv_status clv_bank_search(const clv_bank *bank, const clv_view *queries, int64_t k, int64_t *index, double *score)
{
    CLV_CHECK(bank && queries, CLV_ERR_INVALID, "clv_bank_search: bank and queries must not be NULL");
    CLV_TRY(clvi_bank_check_rows(bank, "clv_bank_search", queries));
    CLV_CHECK(k >= 1 && k <= bank->capacity, CLV_ERR_INVALID,
              "clv_bank_search: k is %" PRId64 "; expected 1 to %" PRId64 " (the capacity)", k, bank->capacity);
    clv_status st = CLV_OK;
    const int64_t B = queries->shape[0];
    size_t cells = 0;
    double *q = NULL, *own_score = NULL;
    int64_t *own_index = NULL;
    CLV_CHECK(clvi_mul_size((size_t)B, (size_t)k, &cells), CLV_ERR_NOMEM, "clv_bank_search: B k overflows");
    q = clvi_calloc(bank->ctx, (size_t)B * (size_t)bank->dim, sizeof *q);
    own_index = index ? NULL : clvi_calloc(bank->ctx, cells, sizeof *own_index);
    own_score = score ? NULL : clvi_calloc(bank->ctx, cells, sizeof *own_score);
    st = q && (index || own_index) && (score || own_score) ? CLV_OK : CLV_ERR_NOMEM;
    if (st == CLV_OK) {
        const clv_view dense = clv_view_2d(q, CLV_F64, B, bank->dim);
        st = clv_view_copy(&dense, queries);
    }
    if (st == CLV_OK) {
        search_job job = { bank, q, k, index ? index : own_index, score ? score : own_score };
        clvi_parallel_for(bank->ctx, B, 1, search_range, &job);
    }
    clvi_free(bank->ctx, q);
    clvi_free(bank->ctx, own_index);
    clvi_free(bank->ctx, own_score);
    return st;
}

/* ---- pairs ---- */

static clv_status check_mask(const clv_bank *bank, const char *which, const clv_view *mask, int64_t count)
{
    if (!mask) return CLV_OK;
    CLV_CHECK(mask->ndim == 2 && mask->dtype == CLV_U8 && mask->shape[0] == count && mask->shape[1] == bank->capacity,
              CLV_ERR_SHAPE, "clv_bank_pairs: %s must be uint8 [%" PRId64 ",%" PRId64 "], is %s with %d dimensions",
              which, count, bank->capacity, clv_dtype_name(mask->dtype), (int)mask->ndim);
    CLV_CHECK(mask->device == 0, CLV_ERR_UNSUPPORTED, "clv_bank_pairs: %s must be in host memory, not on device %d",
              which, (int)mask->device);
    CLV_CHECK(mask->data || count == 0, CLV_ERR_INVALID, "clv_bank_pairs: %s is NULL", which);
    return CLV_OK;
}

static void set_mask(const clv_view *mask, int64_t i, int64_t j, bool value)
{
    if (mask) ((uint8_t *)mask->data)[i * mask->stride[0] + j * mask->stride[1]] = value;
}

clv_status clv_bank_pairs(const clv_bank *bank, int64_t count, const int64_t *ids, const int64_t *labels,
                          const clv_view *positive, const clv_view *negative)
{
    CLV_CHECK(bank && (labels || count == 0), CLV_ERR_INVALID, "clv_bank_pairs: bank and labels must not be NULL");
    CLV_CHECK(count >= 0, CLV_ERR_INVALID, "clv_bank_pairs: count is %" PRId64, count);
    CLV_TRY(check_mask(bank, "positive", positive, count));
    CLV_TRY(check_mask(bank, "negative", negative, count));
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < bank->capacity; j++) {
            const bool own = ids && ids[i] >= 0 && bank->ids[j] == ids[i];
            const bool counts = bank->valid[j] && !own && labels[i] >= 0 && bank->labels[j] >= 0;
            set_mask(positive, i, j, counts && bank->labels[j] == labels[i]);
            set_mask(negative, i, j, counts && bank->labels[j] != labels[i]);
        }
    return CLV_OK;
}
