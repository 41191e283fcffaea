/* loss_from_c.c: one InfoNCE loss and its gradient on two plain arrays.
 *   cc loss_from_c.c $(pkg-config --cflags --libs cleave) */
#include <cleave/loss.h>
#include <stdio.h>

int main(void)
{
    float query[2][3] = { { 1, 0, 0 }, { 0, 2, 0 } }, key[2][3] = { { 3, 1, 0 }, { 0, 1, 1 } }, grad[2][3];
    const clv_option options[] = { { "temperature", "0.2" } };
    const clv_loss_tensor inputs[] = { { "query", clv_view_2d(query, CLV_F32, 2, 3) },
                                       { "key", clv_view_2d(key, CLV_F32, 2, 3) } };
    const clv_loss_tensor grads[] = { { "query", clv_view_2d(grad, CLV_F32, 2, 3) } };
    clv_context *ctx = NULL;
    clv_loss *loss = NULL;
    double value = 0;
    clv_status st = clv_context_create(NULL, &ctx);
    if (st == CLV_OK) st = clv_loss_create(ctx, "info_nce", options, 1, &loss);
    if (st == CLV_OK) st = clv_loss_eval(loss, inputs, 2, grads, 1, NULL, 0, &value);
    if (st == CLV_OK) printf("loss %.6f, gradient of query 0: %g %g %g\n", value, grad[0][0], grad[0][1], grad[0][2]);
    else fprintf(stderr, "%s\n", clv_error_message());
    clv_loss_destroy(loss);
    clv_context_destroy(ctx);
    return st != CLV_OK;
}
