/* test_losses.c: the gradient of every loss in every differentiable input, against central differences in float64. */
#include "tests/support/losses.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* M is a multiple of N or more. */
static int64_t length(char letter, void *user)
{
    (void)user;
    switch (letter) {
    case 'B': case 'N': case 'E': return 5;
    case 'D': return 7;
    case 'K': return 11;
    case 'M': return 6;
    case 'J': return 11;     /* what a bank's rows make alone */
    case 'V': return 2;
    case 'A': return 10;   /* anchors of a batch with two views */
    case 'C': return 6;   /* labels are below 5 */
    case 'T': case 'G': return 11;
    case 'F': case 'H': return 7;
    case 'L': return 1 + 11 + 2 * 4;
    default: return 4;
    }
}

static double value_at(test_loss *l, double *x, double shifted)
{
    const double kept = *x;
    double value = NAN;
    *x = shifted;
    assert_ok(clv_loss_eval(l->loss, l->in, l->n_in, NULL, 0, NULL, 0, &value));
    *x = kept;
    return value;
}

static void check_input(test_loss *l, const clv_loss_tensor *grad, const char *temperature)
{
    clv_view *x = test_loss_input(l, grad->name);
    const int64_t n = clv_view_count(x);
    double worst = 0, largest = 0;
    const double h = 1e-5;
    for (int64_t i = 0; i < n; i++) {
        double *at = (double *)x->data + i;
        const double slope = (value_at(l, at, *at + h) - value_at(l, at, *at - h)) / (2 * h);
        worst = fmax(worst, fabs(slope - ((double *)grad->view.data)[i]));
        largest = fmax(largest, fabs(slope));
    }
    if (!(worst <= 1e-6 * largest + 1e-9) || largest == 0)
        fail_msg("%s %s, temperature %s: gradient of %s is off by %.3g of %.3g", l->name, l->variant ? l->variant : "",
                 temperature, grad->name, worst, largest);
}

/* Its weights of the similarities are constants by definition, so its gradient is not the slope of its value: the
 * golden vectors hold it, and the operations it is made of have their own check. */
static bool is_paced(const char *name)
{
    return strcmp(name, "circle") == 0;
}

static void check_variant(const char *name, const char *variant, void *user)
{
    test_env *t = user;
    static const char *const temperatures[] = { "0.1", "1", "10" };
    if (is_paced(name)) return;
    for (int i = 0; i < 3; i++) {
        for (int optional = 0; optional < 2; optional++) {
            test_loss *l = test_loss_make(t->ctx, name, variant, temperatures[i], optional, 17, length, NULL);
            assert_ok(test_loss_eval(l));
            assert_true(l->n_grad >= 1);
            for (int j = 0; j < l->n_grad; j++) check_input(l, &l->grad[j], temperatures[i]);
            test_loss_free(l);
        }
    }
}

static void every_gradient_is_the_slope_of_the_value(void **state)
{
    test_losses_each(check_variant, *state);
}

TEST_MAIN(TEST(every_gradient_is_the_slope_of_the_value))
