/* bundle.c: the programs of a bundle as one, so that the library is there once: like BusyBox it is the program whose name
 * it was called by, and `cleave` under any other. Their main functions are called NAME_main here (bundle.mk). */
#include <stddef.h>
#include <string.h>

typedef int program_main(int argc, char **argv);

#define PROGRAM(name) extern program_main name##_main;
#include "programs.def"
#undef PROGRAM

static const struct {
    const char   *name;
    program_main *run;
} programs[] = {
#define PROGRAM(name) { #name, name##_main },
#include "programs.def"
#undef PROGRAM
};

int main(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "";
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
        if (strcmp(programs[i].name, name) == 0) return programs[i].run(argc, argv);
    return cleave_main(argc, argv);
}
