/* signal.c: a request to stop, looked at only where the work can stop. */
#include "cli/cli.h"

#include <signal.h>

static volatile sig_atomic_t stop_requested;

static void on_signal(int number)
{
    (void)number;
    stop_requested = 1;         /* nothing more is safe here */
}

void cli_catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)(SA_RESTART | SA_RESETHAND) };
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_stop_requested(void)
{
    return stop_requested != 0;
}
