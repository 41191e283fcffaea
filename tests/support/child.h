/* child.h: programs that a test starts, with a limit to how long they are waited for. */
#ifndef CLEAVE_TESTS_SUPPORT_CHILD_H
#define CLEAVE_TESTS_SUPPORT_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

/* Starts a program, which is looked for along PATH; what it writes is added to the file `log`. Its environment also has
 * what `set` says, names and values in turn up to a NULL. */
pid_t test_child_start(const char *const *args, const char *const *set, const char *log);
/* Waits until all children have ended, `limit` seconds at most. status: of each, its exit status or 128 and its signal.
 * False: they did not end. What they and their children were doing (T: stopped) is added to `log`, and they are
 * killed. */
bool test_child_wait(const pid_t *child, int *status, int n, int limit, const char *log);
/* The file to the standard output. */
void test_child_show(const char *log);

#endif
